"""Pictures of one white digit each, cut from scenes whose photographs are darkened, as an image folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from scenes.digits import load_digits, split_digits
from scenes.drawing import draw_scene
from scenes.photographs import region
from scenes.styles import load_photographs

#: Pictures are cut from scenes of one digit, SCENE px wide; their side is so many heights of the digit.
SCENE, WINDOW = 384, (1.2, 2.4)


def write_pictures(out: Path, train: int = 2400, val: int = 1000) -> None:
    """Write white digits on darkened photographs to OUT/{train,val}/{0..9}/*.png, unless they are there."""
    if out.is_dir():
        return
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    bitmaps, labels = load_digits()
    for number, (split, count) in enumerate({"train": train, "val": val}.items()):
        for label in range(10):
            (part / split / str(label)).mkdir(parents=True)
        rng, own = np.random.default_rng(number), split_digits(labels, seed=0)[split]
        photographs = [region(p, split) for p in load_photographs()]
        for i in range(count):
            scene, (digit,) = draw_scene(rng, photographs, bitmaps[own], labels[own], SCENE, (1, 1))
            scene = np.where(digit.mask[..., None], 255, scene * 0.35).astype(np.uint8)
            rows, columns = np.nonzero(digit.mask)
            side = min(int(np.ptp(rows) * rng.uniform(*WINDOW)), SCENE)
            top, left = (int(np.clip((n.min() + n.max() - side) / 2, 0, SCENE - side)) for n in (rows, columns))
            path = part / split / str(digit.label) / f"{i:05d}.png"
            cv2.imwrite(str(path), scene[top : top + side, left : left + side])
    part.rename(out)
