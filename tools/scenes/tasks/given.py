"""Tasks whose pictures are given: digits and faces."""

from __future__ import annotations

import cv2
import numpy as np

from scenes.digits import load_digits
from scenes.tasks.task import COUNTS, SIZE, SPLITS, Split, SplitName

#: Of 200 faces and non-faces.
FACE_COUNTS: dict[SplitName, int] = {"train": 100, "val": 40, "test": 60}


def _given(images: np.ndarray, labels: np.ndarray, counts: dict[SplitName, int], split: SplitName) -> Split:
    """A split of (N, h, w) pictures in [0, 1], enlarged to SIZE; disjoint, and a function of the counts alone."""
    order = np.random.default_rng(0).permutation(len(images))
    start = sum(counts[s] for s in SPLITS[: SPLITS.index(split)])
    own = order[start : start + counts[split]]
    large = [cv2.resize(images[i].astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for i in own]
    grey = np.clip(255 * np.stack(large), 0, 255).astype(np.uint8)
    return Split(np.repeat(grey[..., None], 3, axis=-1), labels[own].astype(np.int64))


def digits(split: SplitName, count: int | None) -> Split:
    images, labels = load_digits()
    return _head(_given(images, labels, COUNTS, split), count)


def faces(split: SplitName, count: int | None) -> Split:
    from skimage import data

    images = data.lfw_subset()  # 100 faces, then 100 others
    return _head(_given(images, np.repeat([1, 0], 100), FACE_COUNTS, split), count)


def _head(whole: Split, count: int | None) -> Split:
    return Split(whole.images[:count], whole.labels[:count])
