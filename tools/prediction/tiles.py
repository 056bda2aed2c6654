"""Large images by tiles that overlap, and what is found in them merged: boxes and masks, or labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from mmcv.ops import batched_nms
from torch import Tensor

from prediction.instances import Instances, place

#: Of a box at an inner edge of its tile: the part that a larger one must hold to stand for it.
_HELD = 0.8


class Side(NamedTuple):
    """Tiles along one side of an image: their pixels, and how many of them they share at least with the next."""

    size: int
    overlap: int

    def starts(self, length: int) -> list[int]:
        """Where tiles begin; the last ends where the image does, as in mmseg's ``slide``."""
        stride, last = self.size - self.overlap, max(length - self.size, 0)
        return [*range(0, last, stride), last]


class Tiling(NamedTuple):
    """Tiles of an image."""

    rows: Side
    columns: Side

    def cuts(self, image: np.ndarray) -> bool:
        """Whether an image is larger than a tile."""
        return image.shape[0] > self.rows.size or image.shape[1] > self.columns.size


def _batches(image: np.ndarray, corners: Sequence[tuple[int, int]], tiling: Tiling, count: int) -> Iterator[tuple]:
    tall, wide = tiling.rows.size, tiling.columns.size
    for at in range(0, len(corners), count):
        some = corners[at : at + count]
        yield some, [np.ascontiguousarray(image[y : y + tall, x : x + wide]) for y, x in some]


def detect(
    predict: Callable[[list[np.ndarray]], list[Instances]],
    image: np.ndarray,
    tiling: Tiling,
    iou: float,
    batch_size: int = 1,
) -> Instances:
    """Objects of the whole image.

    What an inner edge of a tile may have cut falls to a larger box of its class that holds 80 % of it, which the
    neighbouring tile has where the object is not larger than the overlap. Then the framework's non-maximum suppression
    by class, at the threshold ``iou``, removes what two tiles have found.
    """
    height, width = image.shape[:2]
    corners = [(y, x) for y in tiling.rows.starts(height) for x in tiling.columns.starts(width)]
    parts: list[tuple[int, int, Instances]] = []
    for some, tiles in _batches(image, corners, tiling, batch_size):
        parts += [(y, x, found) for (y, x), found in zip(some, predict(tiles), strict=True)]
    boxes = np.concatenate([found.boxes + np.array([x, y, x, y], np.float32) for y, x, found in parts])
    cut = np.concatenate([_touches_inner_edge(found, y, x, (height, width)) for y, x, found in parts])
    scores, labels = (np.concatenate([getattr(f, n) for *_, f in parts]) for n in ("scores", "labels"))
    kept = np.flatnonzero(~(cut & _is_held(boxes, labels)))
    if len(kept):
        tensors = (torch.from_numpy(array[kept]) for array in (boxes, scores, labels))
        kept = kept[batched_nms(*tensors, {"type": "nms", "iou_threshold": iou})[1].numpy()]
    masks = None
    if all(found.masks is not None for *_, found in parts):
        single = [(runs, y, x) for y, x, found in parts for runs in found.masks]
        masks = [place(*single[i], (height, width)) for i in kept]
    return Instances((height, width), boxes[kept], scores[kept], labels[kept], masks)


def _touches_inner_edge(found: Instances, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    (tall, wide), (height, width) = found.size, size
    x0, y0, x1, y1 = found.boxes.T
    at_left, at_top = (x0 < 1) & (left > 0), (y0 < 1) & (top > 0)
    return at_left | at_top | ((x1 > wide - 1) & (left + wide < width)) | ((y1 > tall - 1) & (top + tall < height))


def _is_held(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether a larger box of the same class holds most of a box."""
    held = np.zeros(len(boxes), bool)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i, box in enumerate(boxes):  # row by row: there may be thousands
        sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
        shared = sides.clip(0).prod(axis=1)
        held[i] = ((labels == labels[i]) & (areas > areas[i]) & (shared >= _HELD * areas[i])).any()
    return held


def segment(
    predict: Callable[[list[np.ndarray]], list[Tensor]],
    image: np.ndarray,
    tiling: Tiling,
    labels_of: Callable[[Tensor], np.ndarray],
    batch_size: int = 1,
) -> np.ndarray:
    """Labels ``(H, W)`` of the whole image, from the mean of the scores ``(C, h, w)`` of all tiles that hold a pixel.

    Only the scores of one row of tiles are held in memory; ``labels_of`` makes rows of the result of them.
    """
    height, width = image.shape[:2]
    rows, columns = tiling.rows.starts(height), tiling.columns.starts(width)
    counts = _coverage(rows, tiling.rows.size, height)[:, None] * _coverage(columns, tiling.columns.size, width)
    done, rest = [], None
    for top, following in pairwise([*rows, height]):
        band = None
        for some, tiles in _batches(image, [(top, x) for x in columns], tiling, batch_size):
            for (_, x), scores in zip(some, predict(tiles), strict=True):
                if band is None:
                    band = scores.new_zeros(scores.shape[0], scores.shape[1], width)
                band[:, :, x : x + scores.shape[2]] += scores
        if rest is not None:
            band[:, : rest.shape[1]] += rest
        count = torch.from_numpy(counts[top:following]).to(band)
        done.append(labels_of(band[:, : following - top] / count))
        rest = band[:, following - top :]
    return np.concatenate(done)


def _coverage(starts: Sequence[int], size: int, length: int) -> np.ndarray:
    count = np.zeros(length, np.float32)
    for start in starts:
        count[start : start + size] += 1
    return count
