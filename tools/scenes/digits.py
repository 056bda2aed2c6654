"""scikit-learn's 1,797 handwritten digits: bitmaps, their splits, and an image folder of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from files.data_set import make_data_set
from files.paths import DATA

DEFAULT_OUT = DATA / "digits"


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Digit bitmaps in [0, 1], (N, 8, 8), without repeats, and their labels."""
    from sklearn import datasets

    digits = datasets.load_digits()
    _, first = np.unique(digits.images.reshape(len(digits.images), -1), axis=0, return_index=True)
    first.sort()
    return digits.images[first] / 16.0, digits.target[first]


def split_digits(labels: np.ndarray, seed: int, val_share: float = 0.2) -> dict[str, np.ndarray]:
    """Indices of the training and validation digits, stratified by class."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {"train": [], "val": []}
    for label in range(10):
        indices = rng.permutation(np.flatnonzero(labels == label))
        cut = round(len(indices) * val_share)
        parts["val"].append(indices[:cut])
        parts["train"].append(indices[cut:])
    return {name: np.concatenate(chunks) for name, chunks in parts.items()}


def write_digits(out: Path = DEFAULT_OUT, seed: int = 0) -> bool:
    """Write OUT/{train,val}/{0..9}/*.png, grey pictures of 8 x 8; False where the same data set is already there.

    One digit in five of each class is for validation. The folder is written under another name and moved into place.

    Raises:
        FileExistsError: ``out`` holds something else than such a data set.
    """
    meta = {"data": "scikit-learn's digits", "seed": seed, "version": 1}

    def fill(folder: Path) -> None:
        bitmaps, labels = load_digits()
        for split, indices in split_digits(labels, seed).items():
            for label in range(10):
                (folder / split / str(label)).mkdir(parents=True)
            for i in indices:
                picture = (bitmaps[i] * 255).round().astype("uint8")
                cv2.imwrite(str(folder / split / str(labels[i]) / f"{i:04d}.png"), picture)

    return make_data_set(out, meta, "digits", fill)
