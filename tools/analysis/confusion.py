"""Confusion matrices of labelled pixels and of detections, and the metrics of segmentation that come of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from analysis.matching import Scene

#: A prediction and its truth: label maps of one shape.
Pair = tuple[np.ndarray, np.ndarray]


def label_pairs(predictions: Path, truths: Path, suffix: str = ".png") -> Iterator[Pair]:
    """Label maps of two folders, each prediction with the truth of its name, in the order of names.

    Args:
        predictions: PNGs of class indices, one per image, in any folders.
        truths: Such PNGs too, at the same places in their folder.
        suffix: What truths have in the place of ``.png``, such as ``_labelTrainIds.png``.

    Raises:
        FileNotFoundError: There are no predictions, or one has no truth.
    """
    names = sorted(path.relative_to(predictions) for path in predictions.rglob("*.png"))
    if not names:
        raise FileNotFoundError(f"no predictions (*.png) in {predictions}")
    for name in names:
        truth = truths / name.with_name(name.stem + suffix)
        if not truth.is_file():
            raise FileNotFoundError(f"prediction {name} has no truth {truth}")
        yield read_labels(predictions / name), read_labels(truth)


def read_labels(path: Path) -> np.ndarray:
    """Class indices of a PNG, ``(H, W)``; of a palette picture its indices.

    Raises:
        ValueError: It has colours.
    """
    with Image.open(path) as picture:
        labels = np.asarray(picture)
    if labels.ndim != 2:
        raise ValueError(f"{path} must hold one class index per pixel, it has mode {picture.mode}")
    return labels.astype(np.int64)


def pixel_confusion(prediction: np.ndarray, truth: np.ndarray, num_classes: int, ignore: int = 255) -> np.ndarray:
    """How many pixels of class i (row) are predicted as class j (column), ``(num_classes, num_classes)``.

    Matrices of images add up. Pixels whose truth is ``ignore`` do not count.

    Raises:
        ValueError: The maps differ in shape, or hold labels outside 0, ..., ``num_classes`` - 1.

    Example:
        >>> pixel_confusion(np.array([[0, 1, 1]]), np.array([[0, 0, 255]]), 2)
        array([[1, 1],
               [0, 0]])
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction and truth must be of one shape, got {prediction.shape} and {truth.shape}")
    counted = truth != ignore
    guess, right = (np.asarray(labels)[counted].astype(np.int64) for labels in (prediction, truth))
    for name, labels in (("prediction", guess), ("truth", right)):
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            accepted = f"0..{num_classes - 1}" + (f" or {ignore} (ignored)" if name == "truth" else "")
            raise ValueError(f"{name} must hold labels {accepted}, it holds {labels.min()}..{labels.max()}")
    return np.bincount(num_classes * right + guess, minlength=num_classes**2).reshape(num_classes, num_classes)


def image_confusions(pairs: Iterable[Pair], num_classes: int, ignore: int = 255) -> np.ndarray:
    """:func:`pixel_confusion` of each image, ``(images, num_classes, num_classes)``.

    Raises:
        ValueError: There are no pairs.
    """
    found = [pixel_confusion(*pair, num_classes, ignore) for pair in pairs]
    if not found:
        raise ValueError("there are no pairs of predictions and truths")
    return np.stack(found)


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union in percent, nan where a class is in neither truth nor prediction.

    Args:
        confusion: ``(..., classes, classes)``.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _percent(right, confusion.sum(-1) + confusion.sum(-2) - right)


def mean_iou(confusion: np.ndarray) -> float:
    """Mean of :func:`iou_per_class` over the classes that have one; nan where none has."""
    values = iou_per_class(confusion)
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def segmentation_metrics(
    pairs: Iterable[Pair], num_classes: int, ignore: int = 255, classes: Sequence[str] | None = None
) -> dict[str, Any]:
    r"""The metrics of mmseg's ``IoUMetric`` in percent, not rounded.

    Of all images' confusion matrix C together:
    :math:`\mathrm{IoU}_i = C_{ii} / (\sum_j C_{ij} + \sum_j C_{ji} - C_{ii})`,
    :math:`\mathrm{Acc}_i = C_{ii} / \sum_j C_{ij}`; means are over the classes where they are defined.

    Args:
        pairs: Predictions and truths.
        num_classes: Labels are 0, ..., ``num_classes`` - 1.
        ignore: Label of the truth that does not count.
        classes: Their names; by default the labels as text.

    Returns:
        ``mIoU``, ``mAcc``, ``aAcc`` (share of all pixels that is right), and ``IoU`` by class.

    Raises:
        ValueError: See :func:`image_confusions`; or there is not one name per class.
    """
    return metrics_of(image_confusions(pairs, num_classes, ignore).sum(0), classes)


def metrics_of(confusion: np.ndarray, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """:func:`segmentation_metrics` of a confusion matrix."""
    names = list(map(str, range(len(confusion)))) if classes is None else list(classes)
    if len(names) != len(confusion):
        raise ValueError(f"classes must be {len(confusion)} names, got {len(names)}")
    right = np.diagonal(confusion)
    accuracy = _percent(right, confusion.sum(1))
    return {
        "mIoU": mean_iou(confusion),
        "mAcc": float(np.nanmean(accuracy)) if not np.isnan(accuracy).all() else float("nan"),
        "aAcc": float(_percent(right.sum(), confusion.sum())),
        "IoU": dict(zip(names, iou_per_class(confusion).tolist(), strict=True)),
    }


def detection_confusion(scenes: Iterable[Scene], num_classes: int, score: float = 0.3, iou: float = 0.5) -> np.ndarray:
    """How many annotations of class i (row) are detected as class j (column), background last.

    Detections and annotations of an image are paired whatever their classes, those of largest overlap first. The last
    row holds detections without an annotation, the last column annotations without a detection. Detections in crowds
    do not count.

    Args:
        scenes: Of :func:`analysis.matching.read_scenes`.
        num_classes: Number of classes.
        score: Detections below it do not count.
        iou: Pairs overlap by as much at least.
    """
    confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for scene in scenes:
        shown = scene.scores >= score
        overlaps = np.where(shown[:, None] & ~scene.crowd, scene.overlaps, 0.0)
        alone, missed = shown & ~(scene.overlaps[:, scene.crowd] >= iou).any(1), ~scene.crowd
        while overlaps.size and overlaps.max() >= iou:
            guess, right = np.unravel_index(overlaps.argmax(), overlaps.shape)
            confusion[scene.truth[right], scene.labels[guess]] += 1
            overlaps[guess], overlaps[:, right] = 0, 0
            alone[guess] = missed[right] = False
        np.add.at(confusion[-1], scene.labels[alone], 1)
        np.add.at(confusion[:, -1], scene.truth[missed], 1)
    return confusion


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return 100 * np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
