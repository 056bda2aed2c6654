"""Figures of metrics: errors, confusion, precision over recall, differences, corruptions; a colour is an entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.errors import ERRORS, SPECIAL, ErrorAnalysis
from analysis.statistics import Paired
from backbones.openmmlab import CORRUPTIONS

#: With so many classes or fewer a matrix has numbers in its cells, and curves have names.
READABLE = 15


def error_bars(analyses: Mapping[str, ErrorAnalysis]) -> Figure:
    """What AP50 each kind of error costs, by entry; beside it all false positives and all false negatives."""
    height = 1.2 + 0.22 * (len(analyses) + 0.7) * len(ERRORS)
    fig, axes = plt.subplots(1, 2, figsize=(9, height), layout="constrained", width_ratios=(3, 2), squeeze=False)
    for ax, kinds, title in zip(axes[0], (ERRORS, SPECIAL), ("kinds of errors", "all errors of one side"), strict=True):
        gains = {f"{name}, AP50 {a.ap:.1f}": [a.gains[kind] for kind in kinds] for name, a in analyses.items()}
        _grouped_bars(ax, gains, kinds)
        ax.set(title=title, xlabel="AP50 it costs (points)")
    _legend_below(fig, axes[0, 0], columns=2)
    return fig


def _grouped_bars(ax: Axes, values: Mapping[str, Sequence[float]], groups: Sequence[str]) -> None:
    """Horizontal bars with their numbers: groups from the top down, in each one bar per entry."""
    width = 0.8 / len(values)
    for i, (name, row) in enumerate(values.items()):
        places = np.arange(len(groups)) + (i + 0.5) * width - 0.4
        bars = ax.barh(places, row, 0.9 * width, label=name, color=_colour(i))
        ax.bar_label(bars, [f"{v:.1f}" for v in row], padding=2, fontsize=7)
    ax.set_yticks(range(len(groups)), groups)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)


def confusion_matrix(confusion: np.ndarray, classes: Sequence[str], title: str = "") -> Figure:
    """Of each row's class what share is taken for which, in percent; a further last row and column is background."""
    names = [*classes, "background"][: len(confusion)]
    if len(names) != len(confusion):
        raise ValueError(f"confusion of {len(confusion)} rows has classes {len(confusion)} or {len(confusion) - 1}")
    total = confusion.sum(1, keepdims=True)
    shares = 100 * np.divide(confusion, total, out=np.zeros(confusion.shape), where=total > 0)
    readable = len(names) <= READABLE
    side = 2.2 + 0.45 * len(names) if readable else 8
    fig, ax = plt.subplots(figsize=(side + 0.8, side), layout="constrained")
    shown = ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    fig.colorbar(shown, ax=ax, shrink=0.8, label="% of the row")
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=8 if readable else 5)
    ax.set_yticks(range(len(names)), names, fontsize=8 if readable else 5)
    ax.set(title=title, xlabel="predicted", ylabel="true")
    if readable:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.5:
                colour = "white" if share > 55 else "black"
                ax.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=8, color=colour)
    return fig


def precision_recall(curves: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """Precision at 101 recalls, of classes or entries; the mean of several is drawn thick."""
    fig, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    recall = np.linspace(0, 100, 101)
    many = len(curves) > READABLE
    colours = plt.get_cmap("tab20").colors
    for i, (name, precision) in enumerate(curves.items()):
        style = {"color": "0.7", "lw": 0.7} if many else {"color": colours[2 * i % 20 + 2 * i // 20], "lw": 1.3}
        ax.plot(recall, precision, label=None if many else f"{name}, {precision.mean():.1f}", **style)
    if len(curves) > 1:
        mean = np.mean(list(curves.values()), 0)
        ax.plot(recall, mean, color="black", lw=2.4, label=f"mean of {len(curves)}, {mean.mean():.1f}")
    ax.set(title=title, xlabel="recall (%)", ylabel="precision (%)", xlim=(0, 100), ylim=(0, 103))
    ax.grid(alpha=0.3)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False, title="AP")
    return fig


def per_class(values: Mapping[str, Mapping[str, float]], label: str) -> Figure:
    """A metric of each class, by entry; classes by the mean over the entries, the best at the top."""
    classes = list(next(iter(values.values())))
    means = np.array([np.nan_to_num(np.mean([row[name] for row in values.values()]), nan=-1) for name in classes])
    order = np.argsort(-means, kind="stable")
    fig, ax = plt.subplots(figsize=(6.4, 1.4 + 0.22 * len(classes)), layout="constrained")
    for i, (name, row) in enumerate(values.items()):
        ax.plot([row[classes[j]] for j in order], range(len(order)), "o", color=_colour(i), label=name, alpha=0.85)
    ax.set_yticks(range(len(order)), [classes[j] for j in order], fontsize=8)
    ax.invert_yaxis()
    ax.set(xlabel=label, xlim=(-2, 102))
    ax.grid(alpha=0.3)
    _legend_below(fig, ax)
    return fig


def differences(compared: Mapping[str, Paired], label: str) -> Figure:
    """Mean differences with their intervals; hollow where the pairs are too few for more than a description."""
    fig, ax = plt.subplots(figsize=(7, 1.3 + 0.4 * len(compared)), layout="constrained")
    for i, found in enumerate(compared.values()):
        face = "white" if found.descriptive else _colour(0)
        ax.plot((found.low, found.high), (i, i), color=_colour(0), lw=1.6)
        ax.plot(found.difference, i, "o", color=_colour(0), mfc=face, ms=7)
        note = "descriptive" if found.descriptive else f"p = {found.p:.2g}"
        ax.annotate(f"n = {found.n}, {note}", (1.02, i), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    ax.axvline(0, color="black", lw=0.8)
    ax.set_yticks(range(len(compared)), list(compared))
    ax.set_ylim(len(compared) - 0.5, -0.5)
    ax.set_xlabel(label)
    ax.grid(axis="x", alpha=0.3)
    return fig


def corruption_curves(
    clean: Mapping[str, float], corrupted: Mapping[str, Mapping[str, Sequence[float]]], label: str
) -> Figure:
    """A metric over the severity, one panel per corruption, groups in rows; severity 0 is clean.

    Args:
        clean: The metric without corruption, by entry.
        corrupted: By entry what :func:`analysis.robustness.robustness` takes.
        label: Of the metric.
    """
    there = {name for rows in corrupted.values() for name in rows}
    groups = {group: [n for n in names if n in there] for group, names in CORRUPTIONS.items() if there & set(names)}
    columns = max(map(len, groups.values()))
    fig, axes = plt.subplots(
        len(groups), columns, figsize=(2.2 * columns + 0.6, 1.8 * len(groups) + 0.7), layout="constrained",
        sharex=True, sharey=True, squeeze=False,
    )  # fmt: skip
    for row, (group, names) in zip(axes, groups.items(), strict=True):
        row[0].set_ylabel(f"{group}\n{label}", fontsize=8)
        for ax in row[len(names) :]:
            ax.axis("off")
        for ax, name in zip(row, names, strict=False):
            for i, (entry, rows) in enumerate(corrupted.items()):
                if name in rows:
                    ax.plot([clean[entry], *rows[name]], ".-", color=_colour(i), label=entry)
            ax.set_title(name.replace("_", " "), fontsize=8)
            ax.set_xticks(range(6))
            ax.grid(alpha=0.3)
    axes[0, 0].set_ylim(bottom=0)
    fig.supxlabel("severity", fontsize=9)
    handles = [plt.Line2D([], [], color=_colour(i), marker=".") for i in range(len(corrupted))]
    fig.legend(handles, list(corrupted), loc="outside upper center", ncols=min(4, columns), fontsize=8, frameon=False)
    return fig


def over_sizes(values: Mapping[str, Mapping[float, float]], label: str) -> Figure:
    """A metric over the images' size in multiples of that of training, by entry."""
    fig, ax = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    for i, (name, row) in enumerate(values.items()):
        factors = sorted(row)
        ax.plot(factors, [row[f] for f in factors], "o-", color=_colour(i), label=name)
    ax.set_xscale("log", base=2)
    ticks = sorted({f for row in values.values() for f in row})
    ax.set_xticks(ticks, [f"{f:g}" for f in ticks])
    ax.minorticks_off()
    ax.axvline(1, color="black", lw=0.8, ls=":")
    ax.set(xlabel="size of the images over that of training", ylabel=label)
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
    _legend_below(fig, ax)
    return fig


def _colour(i: int) -> tuple[float, float, float]:
    return plt.get_cmap("tab10").colors[i % 10]


def _legend_below(fig: Figure, ax: Axes, columns: int = 3) -> None:
    handles, names = ax.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=min(columns, len(names)), fontsize=8, frameon=False)
