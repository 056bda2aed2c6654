"""From stored predictions and a task's truth to numbers, by the functions of tools/analysis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from analysis.confusion import image_confusions, metrics_of, read_labels
from analysis.detection import evaluate

from evaluation.tasks import ReadyTask

#: Which predictions there are, and what their metrics are called.
KINDS = {"bbox": "box", "segm": "mask"}
#: COCO's names, and ours behind "box" or "mask".
_NAMES = {
    **{"AP": "AP", "AP50": "AP50", "AP75": "AP75", "APs": "AP small", "APm": "AP medium", "APl": "AP large"},
    **{"AR100": "AR"},
}


def results_files(place: Path) -> dict[str, Path]:
    """Stored detections by what is compared."""
    return {kind: path for kind in KINDS if (path := place / f"found.{kind}.json").is_file()}


def annotation_file(settings: dict[str, Any]) -> Path:
    """COCO annotations of a data set."""
    return Path(settings.get("data_root") or "", settings["ann_file"])


def measure(ready: ReadyTask, settings: dict[str, Any], place: Path) -> dict[str, Any]:
    """The metrics of stored predictions in percent, and those of each class under ``"classes"``.

    Args:
        ready: The task.
        settings: Of the data set that was predicted on.
        place: The folder of the predictions.
    """
    if ready.kind == "segmentation":
        found = metrics_of(
            image_confusions(segmentation_pairs(ready, settings, place), len(ready.classes)).sum(0), ready.classes
        )
        of_two = {"F1": f1_of_iou(found["IoU"][ready.classes[1]])} if len(ready.classes) == 2 else {}
        return {**{n: found[n] for n in ("mIoU", "mAcc", "aAcc")}, **of_two, "classes": {"IoU": found["IoU"]}}
    metrics: dict[str, Any] = {"classes": {}}
    for kind, path in results_files(place).items():
        evaluation = evaluate(annotation_file(settings), path, kind, classes=ready.classes)
        numbers = evaluation.metrics()
        metrics |= {f"{KINDS[kind]} {ours}": numbers[theirs] for theirs, ours in _NAMES.items()}
        of_class = {name: values["AP"] for name, values in evaluation.per_class().items()}
        metrics["classes"][f"{KINDS[kind]} AP"] = {name: of_class[name] for name in ready.classes}
    return metrics


def f1_of_iou(iou: float) -> float:
    r"""F1 of a class in percent, which follows from its IoU: :math:`2 J / (1 + J)`.

    Example:
        >>> f1_of_iou(25.0)
        40.0
    """
    return 200 * iou / (100 + iou)


def main_metric(metrics: dict[str, Any], name: str) -> float:
    """One of them.

    Raises:
        ValueError: The model predicts nothing that it is made of.
    """
    if name not in metrics:
        raise ValueError(f"metric: {name} is not among what these predictions give: {', '.join(metrics)}")
    return float(metrics[name])


def segmentation_pairs(
    ready: ReadyTask, settings: dict[str, Any], place: Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Label maps predicted and true, 255 where the truth does not count, in the order of the data set."""
    for path, truth, shift in segmentation_truth(ready, settings):
        stored = place / "labels" / f"{path.stem}.png"
        if not stored.is_file():
            raise FileNotFoundError(f"prediction is missing: {stored}")
        yield read_labels(stored) - shift, truth


def segmentation_truth(ready: ReadyTask, settings: dict[str, Any]) -> Iterator[tuple[Path, np.ndarray, int]]:
    """Image, truth as the pipeline gives it, and what stored predictions are above it.

    Raises:
        ValueError: The pipeline loads no truth.
    """
    data = ready.opened(settings)
    for i in range(len(data)):
        sample = data[i]["data_samples"]
        if "gt_sem_seg" not in sample:
            raise ValueError(f"tasks.{ready.task.name}: the pipeline of tested images loads no annotations")
        truth = sample.gt_sem_seg.data[0].numpy().astype(np.int64)
        truth[truth == getattr(data, "ignore_index", 255)] = 255
        yield Path(sample.img_path), truth, int(bool(sample.get("reduce_zero_label")))
