"""scikit-learn's 1,797 handwritten digits as an image folder, for tools that train classifiers."""

from __future__ import annotations

from pathlib import Path

import cv2
from _files import make_data_set
from make_digit_scenes import ROOT, load_digits, split_digits

DEFAULT_OUT = ROOT / "data" / "digits"


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
