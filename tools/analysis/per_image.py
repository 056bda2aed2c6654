"""Scores of single images, for galleries that begin with the worst, and for the bootstrap over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.matching import Scene, match, mean_average_precision


@dataclass(frozen=True)
class ImageScore:
    """How an image's detections at or above a score fare at one IoU.

    Attributes:
        image, name: Id and file name.
        found, false, missed: Numbers of detections that are right, of others, and of annotations not found.
        ap: AP of this image alone at this IoU, of all its detections, in percent; nan without truth.
    """

    image: int
    name: str
    found: int
    false: int
    missed: int
    ap: float

    @property
    def f1(self) -> float:
        """2 found / (2 found + false + missed) in percent; 100 where there is nothing to find and nothing found."""
        total = 2 * self.found + self.false + self.missed
        return 100 * 2 * self.found / total if total else 100.0

    @property
    def sums(self) -> tuple[int, int, int]:
        """Found, false and missed, which add up over images."""
        return self.found, self.false, self.missed


def image_scores(scenes: Sequence[Scene], score: float = 0.3, iou: float = 0.5) -> list[ImageScore]:
    """The scores of all images, in their order.

    Args:
        scenes: Of :func:`analysis.matching.read_scenes`.
        score: Detections below it do not count, except for AP.
        iou: At which a detection finds an annotation.
    """
    return [_score(scene, score, iou) for scene in scenes]


def _score(scene: Scene, score: float, iou: float) -> ImageScore:
    partner, ignored = match(scene, iou)
    true, counts = partner >= 0, ~ignored
    shown = counts & (scene.scores >= score)
    found = int(np.count_nonzero(true & shown))
    ap = mean_average_precision(
        [
            (scene.scores[mine], true[mine], np.count_nonzero((scene.truth == label) & ~scene.crowd))
            for label in np.unique(scene.truth)
            for mine in [counts & (scene.labels == label)]
        ]
    )
    false, missed = int(np.count_nonzero(~true & shown)), int(np.count_nonzero(~scene.crowd)) - found
    return ImageScore(scene.image, scene.name, found, false, missed, ap)


def worst_first(scores: Sequence[ImageScore]) -> list[ImageScore]:
    """By F1, then by how much is wrong, then by id."""
    return sorted(scores, key=lambda s: (s.f1, -(s.false + s.missed), s.image))
