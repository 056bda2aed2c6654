"""Pictures of what a network has learned: its decay, and heat spreading through its blocks."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from backbones import SpectralNet, stage_sizes
from backbones.network import SpectralStage
from reports.pictures import panel
from spectral_ops import Grid, SpectralMixer, apply_gain


@torch.no_grad()
def stage_gains(net: SpectralNet, image_size: int) -> list[list[torch.Tensor]]:
    """The gain of every block, ``[stage][block] -> (H, W, C)``, for images of this size."""
    return [
        [
            mixer.operator.gain(sizes, embedding=stage.maps(sizes).get("embedding"))
            for mixer in stage.modules()
            if isinstance(mixer, SpectralMixer)
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
    """Mean k of each mode, ``(H, W)``, over channels, blocks and axes, where blocks predict it from the embedding."""
    grid = Grid(sizes, torch.float32, torch.device("cpu"), stage.embedding(sizes))
    found = [block.mixer.operator.diffusivity(grid) for block in stage.blocks]
    return torch.stack([k for each in found for k in (each if isinstance(each, tuple) else (each,))]).mean((0, 3))


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
            panel(axes[row, column], blended.clip(0, 255).astype(np.uint8), title)
            centre = float(temperature[cell])
            axes[row, column].text(
                2, size - 4, f"centre {centre:.2f}", color="white", fontsize=7,
                bbox={"facecolor": "black", "alpha": 0.5, "pad": 1, "lw": 0},
            )  # fmt: skip
        axes[row, 0].set_title(f"stage {row + 1}, {h} x {w}" + (": source" if row == 0 else ""), fontsize=8)
    return fig
