"""Figures of what networks do: receptive fields, spectra, learned physics, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from analysis.costs import Cost
from analysis.features import Spectrum
from analysis.modes import SmallModes
from analysis.physics import LearnedQuantity
from analysis.receptive_field import LEVELS, extents

_COLOURS = plt.get_cmap("tab10").colors
_SHADES = 6  # decades of the receptive field that can be told apart


def receptive_fields(fields: Mapping[str, Tensor], stride: int = 32, columns: int = 4) -> Figure:
    """Receptive fields by name, such as before and after training: shades are decades, squares hold 50 and 99 %.

    Args:
        fields: Of :func:`analysis.receptive_field.receptive_field`, ``(H, W)``.
        stride: Pixels per cell of the map whose centre was asked for.
        columns: Panels side by side.
    """
    columns = min(columns, len(fields))
    rows = -(-len(fields) // columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(2.5 * columns + 0.9, 2.95 * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat:
        ax.axis("off")
    for ax, (name, field) in zip(axes.flat, fields.items(), strict=False):
        held = extents(field, LEVELS, stride)
        strength = np.log10(np.maximum(field.numpy() / float(field.max()), 10.0**-_SHADES))
        shown = ax.imshow(strength, cmap="viridis", vmin=-_SHADES, vmax=0)
        height, width = field.shape
        centre = [(n // stride // 2 + 0.5) * stride - 0.5 for n in (width, height)]
        for level, style in ((0.5, "-"), (0.99, "--")):
            side = held[level].side * (height * width) ** 0.5
            corner = (centre[0] - side / 2, centre[1] - side / 2)
            ax.add_patch(plt.Rectangle(corner, side, side, fill=False, color="white", ls=style, lw=1.2))
        ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        sides = ", ".join(f"{100 * level:.0f} %: {held[level].side:.2f}" for level in (0.5, 0.99))
        ax.set_title(f"{name}\nside of {sides}", fontsize=8)
    fig.colorbar(shown, ax=axes, shrink=0.8, label="log10, strongest pixel: 0")
    return fig


def spectra(networks: Mapping[str, Sequence[Spectrum]]) -> Figure:
    """Amplitude over the wave number relative to the coarsest ring, one panel per stage, by network."""
    stages = max(map(len, networks.values()))
    fig, axes = plt.subplots(
        1, stages, figsize=(2.6 * stages + 0.4, 3), layout="constrained", sharey=True, squeeze=False
    )
    for i, (name, rows) in enumerate(networks.items()):
        for ax, found in zip(axes[0], rows, strict=False):
            ax.plot(found.waves, found.relative, ".-", color=_COLOURS[i % 10], label=name)
    for stage, ax in enumerate(axes[0]):
        ax.set_title(f"map {stage + 1}", fontsize=9)
        ax.set(xlabel="wave number (π per cell)", xlim=(0, 1))
        ax.grid(alpha=0.3)
    axes[0, 0].set_ylabel("ln amplitude, relative")
    _legend_below(fig, axes[0, 0])
    return fig


def physics(networks: Mapping[str, Sequence[LearnedQuantity]], columns: int = 4) -> Figure:
    """Each quantity over the layers, from the input on: the mean, and the middle 80 % of all modes and channels."""
    kinds = list(dict.fromkeys(_kind(q) for rows in networks.values() for q in rows))
    if not kinds:
        raise ValueError("the networks have no operators that learn anything")
    columns = min(columns, len(kinds))
    lines = -(-len(kinds) // columns)
    fig, axes = plt.subplots(
        lines, columns, figsize=(2.7 * columns + 0.4, 2.3 * lines + 0.5), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(kinds) :]:
        ax.axis("off")
    for ax, kind in zip(axes.flat, kinds, strict=False):
        for i, rows in enumerate(networks.values()):
            mine = [q for q in rows if _kind(q) == kind]
            layers = np.arange(1, len(mine) + 1)
            colour = _COLOURS[i % 10]
            ax.plot(layers, [q.mean for q in mine], ".-", color=colour)
            ax.fill_between(layers, [q.low for q in mine], [q.high for q in mine], color=colour, alpha=0.2, lw=0)
        ax.set_title(kind, fontsize=8)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
    fig.supxlabel("layers that have it, from the input on", fontsize=9)
    handles = [plt.Line2D([], [], color=_COLOURS[i % 10], marker=".") for i in range(len(networks))]
    fig.legend(handles, list(networks), loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return fig


def _kind(quantity: LearnedQuantity) -> str:
    return f"{quantity.operator}: {quantity.name}"


def stage_bars(networks: Mapping[str, Sequence[Cost]]) -> Figure:
    """Multiply-accumulates and parameters of each network, stacked by stage from the input on."""
    fig, axes = plt.subplots(
        1, 2, figsize=(9, 1.4 + 0.4 * len(networks)), layout="constrained", sharey=True, squeeze=False
    )
    shades = plt.get_cmap("viridis")
    for ax, name, label in zip(
        axes[0], ("macs", "parameters"), ("MACs (millions)", "parameters (millions)"), strict=True
    ):
        for row, costs in enumerate(networks.values()):
            parts = [cost for cost in costs if cost.part != "total"]
            left = 0.0
            for i, cost in enumerate(parts):
                value = getattr(cost, name) / 1e6
                colour = "0.8" if cost.part == "rest" else shades(i / max(1, len(parts) - 1))
                ax.barh(row, value, left=left, color=colour, edgecolor="white", lw=0.5)
                left += value
            ax.text(left, row, f" {left:.3g}", va="center", fontsize=8)
        ax.set_xlabel(label)
        ax.set_xlim(right=1.15 * max(getattr(costs[-1], name) for costs in networks.values()) / 1e6)
    axes[0, 0].set_yticks(range(len(networks)), list(networks))
    axes[0, 0].invert_yaxis()
    fig.suptitle("from dark (input) to light (last stage)", fontsize=8)
    return fig


def small_modes(networks: Mapping[str, Sequence[SmallModes]]) -> Figure:
    """Shares of small modes over the layers, from the input on, one panel per tolerance; dashed, of products left."""
    tolerances = list(dict.fromkeys(found.tolerance for rows in networks.values() for found in rows))
    fig, axes = plt.subplots(
        1, len(tolerances), figsize=(2.6 * len(tolerances) + 0.4, 3), layout="constrained", sharey=True, squeeze=False
    )
    for ax, tolerance in zip(axes[0], tolerances, strict=True):
        for i, (name, rows) in enumerate(networks.items()):
            mine = [found for found in rows if found.tolerance == tolerance]
            layers = np.arange(1, len(mine) + 1)
            ax.plot(layers, [100 * found.share for found in mine], ".-", color=_COLOURS[i % 10], label=name)
            ax.plot(layers, [100 * found.products for found in mine], "--", color=_COLOURS[i % 10])
        ax.set_title(f"gain below {tolerance:g}", fontsize=8)
        ax.set_xlabel("layer")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
    axes[0, 0].set_ylabel("small modes, products left (%)")
    _legend_below(fig, axes[0, 0])
    return fig


def _legend_below(fig: Figure, ax: plt.Axes) -> None:
    handles, names = ax.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8, frameon=False)
