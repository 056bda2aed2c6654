"""Detections matched to truth image by image, by COCO's rule: what curves, errors and galleries are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from faster_coco_eval import COCO, mask

from analysis.coco_files import Kind, class_names, read


@dataclass(frozen=True)
class Scene:
    """Detections and truth of one image; classes are indices.

    Attributes:
        image: Id of the image.
        name: Its file name.
        scores: Of the detections, descending, ``(D,)``.
        labels: Of the detections, ``(D,)``.
        truth: Labels of the annotations, ``(G,)``.
        crowd: Which of them are of crowds, ``(G,)``.
        overlaps: IoU ``(D, G)``; with a crowd the share of the detection that lies in it.
    """

    image: int
    name: str
    scores: np.ndarray
    labels: np.ndarray
    truth: np.ndarray
    crowd: np.ndarray
    overlaps: np.ndarray


class Match(NamedTuple):
    """What becomes of an image's detections: the annotation each finds or -1, and which do not count: in a crowd."""

    partner: np.ndarray
    ignored: np.ndarray


def read_scenes(
    annotations: Path,
    results: Path,
    kind: Kind = "bbox",
    max_dets: int = 100,
    classes: Collection[str] | None = None,
) -> tuple[tuple[str, ...], list[Scene]]:
    """The classes' names and all images, in the order of their ids; of each the best ``max_dets`` of a class.

    Args:
        annotations, results, kind, classes: See :func:`analysis.coco_files.read`.
        max_dets: Detections that count, per image and class.
    """
    truth, found = read(annotations, results, kind, classes)
    indices = {category: i for i, category in enumerate(sorted(truth.cats))}
    return class_names(truth), [_scene(truth, found, i, kind, indices, max_dets) for i in sorted(truth.imgs)]


def _scene(truth: COCO, found: COCO, image: int, kind: Kind, indices: dict[int, int], max_dets: int) -> Scene:
    annotations, detections = (api.loadAnns(api.getAnnIds(imgIds=[image])) for api in (truth, found))
    scores = np.array([d["score"] for d in detections], float)
    labels = np.array([indices[d["category_id"]] for d in detections], int)
    order = np.argsort(-scores, kind="stable")
    before: Counter[int] = Counter()
    kept = []
    for i in order:
        kept += [i] if before[labels[i]] < max_dets else []
        before[labels[i]] += 1
    order = np.array(kept, int)
    crowd = [int(a.get("iscrowd", 0)) for a in annotations]
    if kind == "bbox":
        shapes = [[list(map(float, a["bbox"])) for a in each] for each in (annotations, detections)]
    else:
        shapes = [[api.annToRLE(a) for a in each] for api, each in ((truth, annotations), (found, detections))]
    overlaps = np.zeros((len(order), len(annotations)))
    if overlaps.size:
        overlaps = np.asarray(mask.iou([shapes[1][i] for i in order], shapes[0], crowd)).reshape(overlaps.shape)
    return Scene(
        image=image,
        name=str(truth.imgs[image].get("file_name", image)),
        scores=scores[order],
        labels=labels[order],
        truth=np.array([indices[a["category_id"]] for a in annotations], int),
        crowd=np.array(crowd, bool),
        overlaps=overlaps,
    )


def match(scene: Scene, iou: float = 0.5) -> Match:
    """Match by COCO's rule: by descending score, each to the free annotation of its class that it overlaps most.

    A detection that finds none, but lies in a crowd of its class, does not count.
    """
    partner, ignored = np.full(len(scene.scores), -1), np.zeros(len(scene.scores), bool)
    free = ~scene.crowd
    for i, label in enumerate(scene.labels):
        same = scene.truth == label
        candidates = np.where(same & free, scene.overlaps[i], -1)
        if candidates.size and candidates.max() >= iou:
            partner[i] = len(candidates) - 1 - int(candidates[::-1].argmax())  # of equal ones the last, as COCO
            free[partner[i]] = False
        else:
            ignored[i] = bool((scene.overlaps[i, same & scene.crowd] >= iou).any())
    return Match(partner, ignored)


def average_precision(scores: np.ndarray, true: np.ndarray, count: float) -> float:
    """COCO's AP of one class at one IoU: the highest precision at recall r or more, mean over r = 0, 0.01, ..., 1.

    Args:
        scores: Of the detections that count.
        true: Which are right.
        count: How many there are to find; nan comes of 0.

    Example:
        >>> ap = average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 2)
        >>> f"{ap:.4f}"  # 51 of the 101 recalls have precision 1, the others 2/3
        '0.8350'
    """
    if count <= 0:
        return float("nan")
    found = np.cumsum(true[np.argsort(-scores, kind="stable")])
    precision = found / np.arange(1, len(found) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(found / count, np.linspace(0, 1, 101), side="left")
    return float(np.append(highest, 0.0)[first].mean())


def mean_average_precision(classes: Sequence[tuple[np.ndarray, np.ndarray, float]]) -> float:
    """Mean of :func:`average_precision` in percent over the classes that have truth, from their arguments."""
    values = [average_precision(*each) for each in classes if each[2] > 0]
    return 100 * float(np.mean(values)) if values else float("nan")
