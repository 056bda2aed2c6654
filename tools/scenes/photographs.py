"""Photographs that ship inside installed packages, and which part of each belongs to a split."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

#: Photographs that ship inside scikit-image's wheel and hold no digits or text of their own.
PHOTOGRAPHS = [
    *("astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "grass", "gravel", "hubble_deep_field"),
    *("immunohistochemistry", "moon", "retina", "rocket"),
]
#: Part of a photograph's longer side given to training, and the start of the part given to validation.
TRAIN_END, VAL_START = 0.68, 0.70


def day() -> list[np.ndarray]:
    """The photographs of :data:`PHOTOGRAPHS` and scikit-learn's two, (H, W, 3) or (H, W) uint8, RGB."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    return [getattr(data, name)() for name in PHOTOGRAPHS] + list(load_sample_images().images)


def night() -> list[np.ndarray]:
    """Four others, likewise.

    Raises:
        ModuleNotFoundError: imgaug, which brings one of them, is not installed.
    """
    from matplotlib import get_data_path
    from skimage import data

    imgaug = find_spec("imgaug")  # found, not imported: that takes seconds
    if imgaug is None or imgaug.origin is None:
        raise ModuleNotFoundError("the style 'night' takes a photograph from imgaug, which mmdetection brings")
    files = [Path(get_data_path()) / "sample_data" / "grace_hopper.jpg", Path(imgaug.origin).parent / "quokka.jpg"]
    photographs = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
    return [data.stereo_motorcycle()[0], data.clock(), *photographs]


def region(photograph: np.ndarray, split: str) -> np.ndarray:
    """The part of a photograph that belongs to a split."""
    axis = 0 if photograph.shape[0] > photograph.shape[1] else 1
    length = photograph.shape[axis]
    part = slice(0, int(TRAIN_END * length)) if split == "train" else slice(int(VAL_START * length), length)
    return photograph[part] if axis == 0 else photograph[:, part]
