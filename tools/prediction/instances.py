"""What a detector found in an image: boxes, scores, classes and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask


@dataclass
class Instances:
    """Objects in an image of ``size`` (height, width).

    ``boxes`` are ``(n, 4)``, x0, y0, x1, y1 in pixels; ``masks`` COCO's run lengths, or None of a detector of boxes.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def chosen(self, indices: Sequence[int] | np.ndarray) -> Instances:
        """Some of them, in that order."""
        masks = None if self.masks is None else [self.masks[i] for i in indices]
        return Instances(self.size, self.boxes[indices], self.scores[indices], self.labels[indices], masks)

    def above(self, score: float) -> Instances:
        """Those of at least that score."""
        return self.chosen(np.flatnonzero(self.scores >= score))


def from_framework(found: InstanceData, size: tuple[int, int]) -> Instances:
    """Of mmdet's ``pred_instances``."""
    boxes = getattr(found.bboxes, "tensor", found.bboxes)
    arrays = (array.detach().cpu().numpy() for array in (boxes, found.scores, found.labels))
    masks = [encode(mask.cpu().numpy()) for mask in found.masks] if "masks" in found else None
    return Instances(size, *arrays, masks)


def encode(mask: np.ndarray) -> dict[str, Any]:
    """A mask ``(H, W)`` as run lengths that go into JSON."""
    runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": runs["size"], "counts": runs["counts"].decode("ascii")}


def decode(runs: dict[str, Any]) -> np.ndarray:
    """The mask, boolean."""
    return coco_mask.decode(runs).astype(bool)


def place(runs: dict[str, Any], top: int, left: int, size: tuple[int, int]) -> dict[str, Any]:
    """The mask of a tile inside the whole image."""
    height, width = runs["size"]
    whole = np.zeros(size, np.uint8, order="F")
    whole[top : top + height, left : left + width] = coco_mask.decode(runs)
    return encode(whole)
