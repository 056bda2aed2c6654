"""Galleries: the images that a trained network does worst on, first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mmcv
import numpy as np
from analysis.confusion import mean_iou, pixel_confusion, read_labels
from analysis.matching import match, read_scenes
from analysis.per_image import image_scores, worst_first
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.registry import TRANSFORMS
from prediction.bands import Bands
from reports.pictures import panel

from evaluation.metrics import annotation_file, results_files, segmentation_truth
from evaluation.tasks import ReadyTask

#: Detections below this score are neither drawn nor counted.
SCORE = 0.3
#: Letters of a file's name that have room, and boxes that have room for names.
_NAME, _NAMED = 24, 15
#: What is right, what is false, what is missed.
RIGHT, FALSE, MISSED = "#1a9850", "#d73027", "#fdae00"


def gallery(ready: ReadyTask, settings: dict[str, Any], place: Path, count: int = 6) -> Figure:
    """The worst images of stored predictions; see the captions of :data:`CAPTIONS`."""
    draw = _detections if ready.kind == "detection" else _segmentations
    return draw(ready, settings, place, count)


#: What a gallery shows, by kind of task.
CAPTIONS = {
    "detection": (
        f"Truth above, detections with a score of {SCORE} or more below, lowest F1 at IoU 0.5 first: green is found, "
        f"red a false detection, yellow a missed annotation."
    ),
    "segmentation": "Image, truth, prediction, and in red what is wrong; lowest mIoU of the image first.",
}


def _detections(ready: ReadyTask, settings: dict[str, Any], place: Path, count: int) -> Figure:
    annotations, results = annotation_file(settings), results_files(place)["bbox"]
    classes, scenes = read_scenes(annotations, results, classes=ready.classes)
    by_id = {scene.image: scene for scene in scenes}
    worst = worst_first(image_scores(scenes, SCORE))[:count]
    coco, found = json.loads(annotations.read_text()), json.loads(results.read_text())
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    counted = {category["id"] for category in coco["categories"] if category["name"] in classes}
    drawn = [a for a in coco["annotations"] if a["category_id"] in counted]
    folder = Path(settings.get("data_root") or "", (settings.get("data_prefix") or {}).get("img", ""))
    figure, axes = _grid(2, len(worst))
    for column, score in zip(axes.T, worst, strict=True):
        image, scene = _read(folder / names[score.image], settings), by_id[score.image]
        truth = [a["bbox"] for a in drawn if a["image_id"] == score.image]
        detected = sorted((r for r in found if r["image_id"] == score.image), key=lambda r: -r["score"])
        partner, ignored = match(scene)
        seen = {int(p) for p, s in zip(partner, scene.scores, strict=True) if p >= 0 and s >= SCORE}
        panel(column[0], image, f"{names[score.image][-_NAME:]}\nF1 {score.f1:.0f} %")
        panel(column[1], image, f"{score.found} found, {score.false} false, {score.missed} missed")
        for i, box in enumerate(truth):
            _box(column[0], box, RIGHT if i in seen else MISSED, _class(classes, scene.truth, i))
        found_here = sum(record["score"] >= SCORE for record in detected)
        for i, record in enumerate(detected[: len(scene.scores)]):
            if record["score"] >= SCORE and not ignored[i]:
                text = f"{_class(classes, scene.labels, i)} {record['score']:.2f}" * (found_here <= _NAMED)
                _box(column[1], record["bbox"], RIGHT if partner[i] >= 0 else FALSE, text)
    return figure


def _class(classes: Sequence[str], labels: np.ndarray, index: int) -> str:
    return classes[labels[index]] if len(classes) > 1 else ""


def _box(ax: Axes, box: Sequence[float], colour: str, text: str) -> None:
    x, y, width, height = box
    ax.add_patch(plt.Rectangle((x - 0.5, y - 0.5), width, height, fill=False, color=colour, lw=1.3))
    if text.strip():
        ax.text(x, y - 1, text.strip(), fontsize=5, color="white", bbox={"facecolor": colour, "pad": 0.4, "lw": 0})


def _segmentations(ready: ReadyTask, settings: dict[str, Any], place: Path, count: int) -> Figure:
    scored = []
    for path, truth, shift in segmentation_truth(ready, settings):
        guess = read_labels(place / "labels" / f"{path.stem}.png") - shift
        score = mean_iou(pixel_confusion(guess, truth, len(ready.classes)))
        scored.append((np.inf if np.isnan(score) else score, path, shift))
        scored = sorted(scored, key=lambda one: one[0])[:count]  # pictures are read again: few are in memory
    kept = {path: i for i, (_, path, _) in enumerate(scored)}
    figure, axes = _grid(4, len(scored))
    colours = np.asarray(ready.tested.metainfo["palette"], np.uint8)
    for path, truth, shift in segmentation_truth(ready, settings):
        if path not in kept:
            continue
        column, image = axes[:, kept[path]], _read(path, settings)
        guess = read_labels(place / "labels" / f"{path.stem}.png") - shift
        panel(column[0], image, f"{path.name[-_NAME:]}\nmIoU {scored[kept[path]][0]:.0f} %")
        for ax, labels, title in zip(column[1:3], (truth, guess), ("truth", "prediction"), strict=True):
            shown = np.full((*labels.shape, 3), 255, np.uint8)
            shown[labels < len(colours)] = colours[labels[labels < len(colours)]]
            panel(ax, shown, title)
        grey = (0.5 * image.mean(-1, keepdims=True) + 100).repeat(3, -1)
        grey[(guess != truth) & (truth != 255)] = (215, 48, 39)
        panel(column[3], grey.astype(np.uint8), "wrong")
    return figure


def _grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    return plt.subplots(rows, columns, figsize=(2.0 * max(columns, 2), 2.1 * rows), layout="constrained", squeeze=False)


def _read(path: Path, settings: dict[str, Any]) -> np.ndarray:
    """As the frameworks read it, as RGB; a picture of some bands where the pipeline loads those of modalities."""
    step = (settings.get("pipeline") or [{"type": ""}])[0]
    step = step.get("before", step)  # of a pair
    if (bands := Bands.of(step)) is not None:
        return bands.picture(TRANSFORMS.build(step)({"img_path": str(path)})["img"])[..., ::-1]
    return mmcv.imread(str(path), channel_order="rgb")


def overview(values: dict[str, Sequence[float]], metric: str) -> Figure:
    """A metric of each line of the table: a dot for each seed, a bar for the mean."""
    figure, ax = plt.subplots(figsize=(8, 0.9 + 0.34 * len(values)), layout="constrained")
    for row, each in enumerate(values.values()):
        ax.barh(row, np.mean(each), color="#9ecae1", height=0.62)
        ax.plot(each, [row] * len(each), "o", color="#08519c", ms=4, alpha=0.8)
        ax.text(0, row, f" {np.mean(each):.1f}", va="center", fontsize=8)
    ax.set_yticks(range(len(values)), list(values), fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel(f"{metric} (%)", fontsize=8)
    ax.tick_params(axis="x", labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return figure
