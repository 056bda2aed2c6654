"""The pictures of the report, each a function from arrays or a model to a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn import functional as F

from backbones import SpectralNet, stage_sizes
from backbones.network import SpectralStage
from spectral_ops import Grid, apply_gain

#: Seaborn's "bright" hues, one per digit; index 0 of a label map is background.
COLOURS = np.array(
    [
        [230, 25, 75], [60, 180, 75], [255, 225, 25], [0, 130, 200], [245, 130, 48],
        [145, 30, 180], [70, 240, 240], [240, 50, 230], [210, 245, 60], [250, 190, 212],
    ]
)  # fmt: skip


def _panel(ax: Axes, image: np.ndarray, title: str = "") -> None:
    ax.imshow(image)
    ax.set_title(title, fontsize=8)
    ax.axis("off")


def _instances(ax: Axes, image: np.ndarray, boxes: np.ndarray, masks: np.ndarray, texts: Sequence[str], labels) -> None:
    tinted = image.astype(float)
    for mask, label in zip(masks, labels, strict=True):
        tinted[mask] = 0.35 * tinted[mask] + 0.65 * COLOURS[label]
    _panel(ax, tinted.astype(np.uint8))
    for (x0, y0, x1, y1), text, label in zip(boxes, texts, labels, strict=True):
        colour = COLOURS[label] / 255
        ax.add_patch(plt.Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, color=colour, lw=1.2))
        ax.text(x0, y0 - 1.5, text, fontsize=6, color="black", bbox={"facecolor": colour, "pad": 0.6, "lw": 0})


def detections(samples: Sequence[dict]) -> Figure:
    """Rows: image, truth, prediction; truth and prediction of a sample hold boxes, masks, texts and labels."""
    fig, axes = plt.subplots(3, len(samples), figsize=(1.75 * len(samples), 5.6), layout="constrained", squeeze=False)
    for column, sample in enumerate(samples):
        _panel(axes[0, column], sample["image"])
        _instances(axes[1, column], sample["image"], **sample["truth"])
        _instances(axes[2, column], sample["image"], **sample["prediction"])
    for ax, name in zip(axes[:, 0], ("image", "truth", "prediction"), strict=True):
        ax.set_title(name, fontsize=9, loc="left")
    return fig


def segmentations(samples: Sequence[dict]) -> Figure:
    """Rows: image, truth, prediction; ``samples`` hold image, truth and prediction label maps (0 background)."""
    fig, axes = plt.subplots(3, len(samples), figsize=(1.75 * len(samples), 5.6), layout="constrained", squeeze=False)
    for column, sample in enumerate(samples):
        _panel(axes[0, column], sample["image"])
        for row, name in ((1, "truth"), (2, "prediction")):
            shown = 0.35 * sample["image"]
            marked = sample[name] > 0
            shown[marked] = COLOURS[sample[name][marked] - 1]
            _panel(axes[row, column], shown.astype(np.uint8))
    for ax, name in zip(axes[:, 0], ("image", "truth", "prediction"), strict=True):
        ax.set_title(name, fontsize=9, loc="left")
    handles = [plt.Rectangle((0, 0), 1, 1, color=c / 255) for c in COLOURS]
    fig.legend(handles, [str(i) for i in range(10)], loc="outside lower center", ncols=10, fontsize=8, frameon=False)
    return fig


def loss_curves(runs: dict[str, list[dict]]) -> Figure:
    """One panel per run: its losses against the iteration, from mmengine's log records."""
    fig, axes = plt.subplots(1, len(runs), figsize=(5.2 * len(runs), 3), layout="constrained", squeeze=False)
    for ax, (name, records) in zip(axes[0], runs.items(), strict=True):
        steps = [r["step"] for r in records]
        for key in [k for k in records[0] if "loss" in k]:
            ax.plot(steps, [r[key] for r in records], label=key, lw=2.2 if key == "loss" else 1)
        ax.set(title=name, xlabel="iteration", yscale="log")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=7)
    return fig


@torch.no_grad()
def stage_gains(net: SpectralNet, image_size: int) -> list[list[torch.Tensor]]:
    """The gain of every block, ``[stage][block] -> (H, W, C)``, for images of this size."""
    return [
        [
            block.mixer.operator.gain(sizes, embedding=None if stage.embedding is None else stage.embedding(sizes))
            for block in stage.blocks
        ]
        for stage, sizes in zip(net.stages, stage_sizes(image_size), strict=False)
    ]


def decay(net: SpectralNet, image_size: int) -> Figure:
    """Per stage: the learned diffusivity k over the modes, and kernels of the slowest to the fastest channel."""
    columns = 6
    gains = stage_gains(net, image_size)
    fig, axes = plt.subplots(len(gains), columns, figsize=(1.9 * columns, 1.95 * len(gains)), layout="constrained")
    for row, (stage, per_block) in enumerate(zip(net.stages, gains, strict=True)):
        h, w, _ = per_block[0].shape
        shown = axes[row, 0].imshow(_mean_diffusivity(stage, (h, w)), cmap="viridis")
        fig.colorbar(shown, ax=axes[row, 0], shrink=0.8)
        axes[row, 0].set_title(f"stage {row + 1}: mean k[n, m]", fontsize=8)
        mean = torch.stack(per_block).mean((0, 3))
        shown = axes[row, 1].imshow(mean, cmap="magma", vmin=0, vmax=1)
        axes[row, 1].set_title("mean gain exp(-k λ)", fontsize=8)
        last = per_block[-1]
        order = last.mean((0, 1)).argsort(descending=True)
        kernels = _kernels(last, (h // 2, w // 2))
        for column, q in zip(range(2, columns), (0.0, 0.34, 0.67, 1.0), strict=True):
            channel = order[int(q * (len(order) - 1))]
            kernel = kernels[..., channel]
            shown = kernel.sign() * (kernel.abs() / kernel.abs().max()).sqrt()
            axes[row, column].imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1)
            axes[row, column].set_title(f"kernel, channel {int(channel)}\npeak {kernel.max():.2f}", fontsize=8)
        for ax in axes[row]:
            ax.set_xticks([])
            ax.set_yticks([])
    return fig


@torch.no_grad()
def _mean_diffusivity(stage: SpectralStage, sizes: tuple[int, int]) -> torch.Tensor:
    """Mean k of each mode, ``(H, W)``, in a stage whose blocks predict it from the embedding."""
    grid = Grid(sizes, torch.float32, torch.device("cpu"), stage.embedding(sizes))
    return torch.stack([block.mixer.operator.diffusivity(grid) for block in stage.blocks]).mean((0, 3))


def _kernels(gain: torch.Tensor, point: tuple[int, int]) -> torch.Tensor:
    """Response of each channel to a unit of heat at ``point``: ``(H, W, C)``."""
    h, w, channels = gain.shape
    source = torch.zeros(1, h, w, channels)
    source[0, point[0], point[1]] = 1.0
    return apply_gain(source, gain, (1, 2))[0]


def heat_spread(net: SpectralNet, image: np.ndarray, point: tuple[float, float]) -> Figure:
    """Heat from one image point through the trained blocks of each stage, over time.

    Columns: the unit source at the stage's resolution, one block after a quarter, half and all of its learned time, and
    all blocks of the stage in turn (channel mean of the temperature, each panel scaled to its own maximum).
    """
    size = image.shape[0]
    gains = stage_gains(net, size)
    titles = ["source", "t = 1/4", "t = 1/2", "t = 1 (one block)", "whole stage"]
    fig, axes = plt.subplots(len(gains), len(titles), figsize=(9.6, 2 * len(gains)), layout="constrained")
    grey = image.astype(float).mean(-1, keepdims=True).repeat(3, -1)
    for row, per_block in enumerate(gains):
        h, w, _ = per_block[0].shape
        cell = (int(point[0] * h), int(point[1] * w))
        first = per_block[0].clamp_min(0)
        whole = torch.stack(per_block).prod(0)
        fields = [torch.ones_like(first), first**0.25, first**0.5, first, whole]
        for column, gain in enumerate(fields):
            temperature = _kernels(gain, cell).mean(-1)
            heat = F.interpolate(temperature[None, None], (size, size), mode="bicubic" if column else "nearest")[0, 0]
            heat = (heat / heat.max()).clamp(0, 1).numpy() ** 0.5
            coloured = plt.get_cmap("inferno")(heat)[..., :3] * 255
            alpha = 0.25 + 0.75 * heat[..., None]
            blended = (1 - alpha) * 0.6 * grey + alpha * coloured
            title = titles[column] if row == 0 else ""
            _panel(axes[row, column], blended.clip(0, 255).astype(np.uint8), title)
            centre = float(temperature[cell])
            axes[row, column].text(
                2, size - 4, f"centre {centre:.2f}", color="white", fontsize=7,
                bbox={"facecolor": "black", "alpha": 0.5, "pad": 1, "lw": 0},
            )  # fmt: skip
        axes[row, 0].set_title(f"stage {row + 1}, {h} x {w}" + (": source" if row == 0 else ""), fontsize=8)
    return fig
