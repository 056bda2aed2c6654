"""COCO's metrics of stored detections, by size and class, and precision over recall."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faster_coco_eval import COCOeval_faster

from analysis.coco_files import Kind, class_names, read

#: COCO's ranges of area, in its order: all, below 32 x 32 px, up to 96 x 96 px, above.
_AREAS = ("", "s", "m", "l")
_HALF, _THREE_QUARTERS = 0, 5  # indices of IoU 0.50 and 0.75 among 0.50, 0.55, ..., 0.95


@dataclass(frozen=True)
class Evaluation:
    """Precision and recall of one set of detections, by COCO's rules.

    Attributes:
        classes: Their names, in the order of the categories' ids.
        max_dets: Numbers of detections per image and class that count, ascending.
        precision: Highest precision at this recall or more, -1 where a class has no truth: ``(IoU, recall, class,
            area, max_dets)`` with IoU 0.50, 0.55, ..., 0.95, recall 0, 0.01, ..., 1 and area all, small, medium, large.
        recall: The highest, ``(IoU, class, area, max_dets)``.
    """

    classes: tuple[str, ...]
    max_dets: tuple[int, ...]
    precision: np.ndarray
    recall: np.ndarray

    def metrics(self) -> dict[str, float]:
        """COCO's twelve numbers in percent, see :func:`coco_metrics`."""
        ap, recall = self.precision[..., -1], self.recall
        found = {"AP": _mean(ap[..., 0]), "AP50": _mean(ap[_HALF, ..., 0]), "AP75": _mean(ap[_THREE_QUARTERS, ..., 0])}
        found |= {f"AP{area}": _mean(ap[..., i]) for i, area in enumerate(_AREAS) if area}
        found |= {f"AR{count}": _mean(recall[..., 0, i]) for i, count in enumerate(self.max_dets)}
        return found | {f"AR{area}": _mean(recall[..., i, -1]) for i, area in enumerate(_AREAS) if area}

    def per_class(self) -> dict[str, dict[str, float]]:
        """AP, AP50 and AR of each class in percent, nan where it has no truth."""
        ap, recall = self.precision[..., 0, -1], self.recall[..., 0, -1]
        return {
            name: {"AP": _mean(ap[:, :, i]), "AP50": _mean(ap[_HALF, :, i]), "AR": _mean(recall[:, i])}
            for i, name in enumerate(self.classes)
        }

    def curves(self, iou: float = 0.5) -> dict[str, np.ndarray]:
        """Precision at recall 0, 0.01, ..., 1 of each class that has truth, ``(101,)``, in percent.

        Raises:
            ValueError: ``iou`` is none of 0.50, 0.55, ..., 0.95.
        """
        index = round((iou - 0.5) / 0.05)
        if not (0 <= index < 10 and abs(0.5 + 0.05 * index - iou) < 1e-6):
            raise ValueError(f"iou must be one of 0.50, 0.55, ..., 0.95, got {iou!r}")
        curves = self.precision[index, :, :, 0, -1]
        return {name: 100 * curves[:, i] for i, name in enumerate(self.classes) if curves[0, i] >= 0}


def _mean(values: np.ndarray) -> float:
    """In percent, of those that are there: -1 stands for what has no truth."""
    there = values[values > -1]
    return 100 * float(there.mean()) if there.size else float("nan")


def evaluate(
    annotations: Path,
    results: Path,
    kind: Kind = "bbox",
    max_dets: Sequence[int] = (1, 10, 100),
    classes: Collection[str] | None = None,
) -> Evaluation:
    """Evaluate stored detections by COCO's rules, with faster-coco-eval.

    Args:
        annotations, results, kind, classes: See :func:`analysis.coco_files.read`.
        max_dets: The detections of highest score per image and class that count for AR; for AP the last.

    Raises:
        ValueError: The files do not fit each other, or ``max_dets`` are not ascending positive numbers.
    """
    counts = tuple(max_dets)
    if not counts or list(counts) != sorted(set(counts)) or not all(isinstance(n, int) and n > 0 for n in counts):
        raise ValueError(f"max_dets must be ascending positive ints, got {max_dets!r}")
    truth, found = read(annotations, results, kind, classes)
    run = COCOeval_faster(truth, found, kind)
    run.params.maxDets = list(counts)
    run.evaluate()
    run.accumulate()
    return Evaluation(class_names(truth), counts, run.eval["precision"], run.eval["recall"])


def coco_metrics(
    annotations: Path, results: Path, kind: Kind = "bbox", max_dets: Sequence[int] = (1, 10, 100)
) -> dict[str, float]:
    """COCO's metrics in percent: AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl.

    AP is the mean over classes and IoU thresholds 0.50, 0.55, ..., 0.95 of the precision at 101 recalls, AR the mean
    of the highest recall. nan where no truth is of that size; no detections are 0.

    Args:
        annotations, results, kind, max_dets: See :func:`evaluate`; the names of AR follow ``max_dets``.

    Source:
        T.-Y. Lin et al., *Microsoft COCO*, ECCV 2014, arXiv 1405.0312; the definitions are those of pycocotools.
    """
    return evaluate(annotations, results, kind, max_dets).metrics()
