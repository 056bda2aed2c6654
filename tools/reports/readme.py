"""The pictures of README.md: a composition of operators on a photograph, and what the demo's networks learned."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from backbones import SpectralNet
from reports.gallery import photograph
from reports.networks import stage_gains
from reports.pictures import instances
from reports.predictions import build_runner, detection_samples, predictions
from spectral_ops import Heat, Identity, Wave, apply_gain, laplacian_eigenvalues

#: Inches, so that labels can be read on a telephone.
WIDTH = 4.5
#: Bytes of one picture.
LIMIT = 150_000


def composition() -> Figure:
    """A photograph, the gain of an expression, and what it makes of the photograph."""
    operator = (0.6 * Wave(1.0, 12.0) + 0.4 * Identity()) @ Heat(0.5)
    image = photograph("astronaut", 200, 200)
    gain = operator.gain((200, 200))[:80, :80]
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 1.75), layout="constrained")
    axes[0].imshow(image.permute(1, 2, 0).numpy())
    axes[1].imshow(gain.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
    axes[2].imshow(operator(image).clamp(0, 1).permute(1, 2, 0).numpy())
    for panel, title in zip(axes, ("photograph", "gain of low modes", "result"), strict=True):
        panel.set_title(title, fontsize=9)
        panel.set(xticks=[], yticks=[])
    return figure


def truth_and_predictions(samples: list[dict]) -> Figure:
    """Scenes with their true objects above and the detector's below."""
    figure, axes = plt.subplots(2, len(samples), figsize=(WIDTH, 2.5), layout="constrained")
    for above, below, sample in zip(*axes, samples, strict=True):
        instances(above, sample["image"], **sample["truth"])
        instances(below, sample["image"], **sample["prediction"])
    return figure


def spread(gains: list[list[Tensor]]) -> Figure:
    """A unit of heat in the middle of each stage's map, after one block and after all blocks (mean of the channels)."""
    figure, axes = plt.subplots(2, len(gains), figsize=(WIDTH, 2.6), layout="constrained")
    for stage, (column, blocks) in enumerate(zip(axes.T, gains, strict=True), start=1):
        sizes = blocks[0].shape[:2]
        source = torch.zeros(1, *sizes, blocks[0].shape[-1])
        source[0, sizes[0] // 2, sizes[1] // 2] = 1
        for panel, gain in zip(column, (blocks[0], torch.stack(blocks).prod(0)), strict=True):
            heat = apply_gain(source, gain, (1, 2))[0].mean(-1)
            panel.imshow((heat / heat.max()).clamp_min(0).sqrt().numpy(), cmap="inferno", vmin=0, vmax=1)
            panel.set_xlabel(f"peak {heat.max():.2f}", fontsize=8)
            panel.set(xticks=[], yticks=[])
        column[0].set_title(f"stage {stage}\n{sizes[0]} x {sizes[1]} cells", fontsize=8)
    for panel, name in zip(axes[:, 0], ("one block", "all blocks"), strict=True):
        panel.set_ylabel(name, fontsize=8)
    return figure


def decay(gains: list[list[Tensor]]) -> Figure:
    """The gain of each stage over the wave number: the mean, and the middle 80 % of modes, channels and blocks."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.6), layout="constrained")
    edges = np.linspace(0, np.pi * 2**0.5, 13)
    for stage, blocks in enumerate(gains, start=1):
        values = torch.stack(blocks)  # (blocks, H, W, C)
        waves = laplacian_eigenvalues(values.shape[1:3]).sqrt().numpy()
        bins = [values[:, torch.from_numpy((low <= waves) & (waves < high))] for low, high in pairwise(edges)]
        filled = [i for i, part in enumerate(bins) if part.numel()]
        centres = (edges[:-1] + edges[1:])[filled] / 2
        low, high = np.array([np.quantile(bins[i].numpy(), (0.1, 0.9)) for i in filled]).T
        (line,) = axes.plot(centres, [bins[i].mean() for i in filled], label=f"stage {stage}", lw=2)
        axes.fill_between(centres, low, high, color=line.get_color(), alpha=0.12, lw=0)
    axes.set(xlim=(0, edges[-1]), ylim=(0, 1.02))
    axes.set_xlabel("wave number, radians per cell", fontsize=9)
    axes.set_ylabel("gain", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.3)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture with a palette of 256 colours.

    Raises:
        SystemExit: It is larger than a picture of README.md may be.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    plt.close(figure)
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    data = small.getvalue()
    if len(data) > LIMIT:
        raise SystemExit(f"{path} would have {len(data)} bytes, more than {LIMIT}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(f"{path}: {len(data) / 1000:.0f} kB")


def write_network_pictures(demo: Path, out: Path) -> None:
    """The pictures of the detector that the demo trained."""
    runner = build_runner(demo / "detection")
    samples = detection_samples(predictions(runner, 4))
    net: SpectralNet = runner.model.backbone
    gains = stage_gains(net, samples[0]["image"].shape[0])
    save(truth_and_predictions(samples), out / "predictions.png")
    save(spread(gains), out / "heat.png")
    save(decay(gains), out / "decay.png")
