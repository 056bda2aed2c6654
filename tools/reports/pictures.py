"""Pictures of scenes, predictions and losses, each a function from arrays to a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Seaborn's "bright" hues, one per digit; index 0 of a label map is background.
COLOURS = np.array(
    [
        [230, 25, 75], [60, 180, 75], [255, 225, 25], [0, 130, 200], [245, 130, 48],
        [145, 30, 180], [70, 240, 240], [240, 50, 230], [210, 245, 60], [250, 190, 212],
    ]
)  # fmt: skip


def panel(ax: Axes, image: np.ndarray, title: str = "") -> None:
    """An image without axes."""
    ax.imshow(image)
    ax.set_title(title, fontsize=8)
    ax.axis("off")


def instances(ax: Axes, image: np.ndarray, boxes: np.ndarray, masks: np.ndarray, texts: Sequence[str], labels) -> None:
    tinted = image.astype(float)
    for mask, label in zip(masks, labels, strict=True):
        tinted[mask] = 0.35 * tinted[mask] + 0.65 * COLOURS[label]
    panel(ax, tinted.astype(np.uint8))
    for (x0, y0, x1, y1), text, label in zip(boxes, texts, labels, strict=True):
        colour = COLOURS[label] / 255
        ax.add_patch(plt.Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, color=colour, lw=1.2))
        ax.text(x0, y0 - 1.5, text, fontsize=6, color="black", bbox={"facecolor": colour, "pad": 0.6, "lw": 0})


def detections(samples: Sequence[dict]) -> Figure:
    """Rows: image, truth, prediction; truth and prediction of a sample hold boxes, masks, texts and labels."""
    fig, axes = plt.subplots(3, len(samples), figsize=(1.75 * len(samples), 5.6), layout="constrained", squeeze=False)
    for column, sample in enumerate(samples):
        panel(axes[0, column], sample["image"])
        instances(axes[1, column], sample["image"], **sample["truth"])
        instances(axes[2, column], sample["image"], **sample["prediction"])
    for ax, name in zip(axes[:, 0], ("image", "truth", "prediction"), strict=True):
        ax.set_title(name, fontsize=9, loc="left")
    return fig


def segmentations(samples: Sequence[dict]) -> Figure:
    """Rows: image, truth, prediction; ``samples`` hold image, truth and prediction label maps (0 background)."""
    fig, axes = plt.subplots(3, len(samples), figsize=(1.75 * len(samples), 5.6), layout="constrained", squeeze=False)
    for column, sample in enumerate(samples):
        panel(axes[0, column], sample["image"])
        for row, name in ((1, "truth"), (2, "prediction")):
            shown = 0.35 * sample["image"]
            marked = sample[name] > 0
            shown[marked] = COLOURS[sample[name][marked] - 1]
            panel(axes[row, column], shown.astype(np.uint8))
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
