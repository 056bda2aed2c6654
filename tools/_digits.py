"""scikit-learn's 1,797 handwritten digits as an image folder, for tools that train classifiers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
from make_digit_scenes import ROOT, load_digits, split_digits

DEFAULT_OUT = ROOT / "data" / "digits"


def write_digits(out: Path = DEFAULT_OUT, seed: int = 0) -> bool:
    """Write OUT/{train,val}/{0..9}/*.png, grey pictures of 8 x 8; False where the same data set is already there.

    One digit in five of each class is for validation. The folder is written under another name and moved into place.

    Raises:
        FileExistsError: ``out`` holds something else than such a data set.
    """
    meta = {"data": "scikit-learn's digits", "seed": seed, "version": 1}
    record = out / "meta.json"
    if record.is_file() and json.loads(record.read_text()) == meta:
        return False
    if out.exists() and not record.is_file() and any(out.iterdir()):
        raise FileExistsError(f"{out} exists and is not the digits data set; move it away")
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    bitmaps, labels = load_digits()
    for split, indices in split_digits(labels, seed).items():
        for label in range(10):
            (part / split / str(label)).mkdir(parents=True)
        for i in indices:
            cv2.imwrite(str(part / split / str(labels[i]) / f"{i:04d}.png"), (bitmaps[i] * 255).round().astype("uint8"))
    (part / "meta.json").write_text(json.dumps(meta))
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return True
