"""Photographs cut into tiles, each of which belongs to one split, and crops of them."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from scenes.photographs import PHOTOGRAPHS
from scenes.styles import load_photographs
from scenes.tasks.task import SIZE, SPLITS, SplitName

#: Side of a tile and the gap to the next one, in photograph pixels; part of the tiles each split gets.
TILE, GAP = 72, 4
SHARES: dict[SplitName, float] = {"train": 0.6, "val": 0.15, "test": 0.25}
NAMES = [*PHOTOGRAPHS, "china", "flower"]


def split_tiles(height: int, width: int, seed: int) -> dict[SplitName, list[tuple[int, int]]]:
    """Top-left corners of the (TILE, TILE) tiles of a photograph that belong to each split."""
    pitch = TILE + GAP
    corners = [(y, x) for y in range(0, height - TILE + 1, pitch) for x in range(0, width - TILE + 1, pitch)]
    order = np.random.default_rng(seed).permutation(len(corners))
    train_end = round(SHARES["train"] * len(corners))
    val_end = train_end + round(SHARES["val"] * len(corners))
    parts = (order[:train_end], order[train_end:val_end], order[val_end:])
    return {split: [corners[i] for i in part] for split, part in zip(SPLITS, parts, strict=True)}


@cache
def tiles(split: SplitName) -> dict[str, list[np.ndarray]]:
    """The tiles of every photograph that belong to a split, by the photograph's name."""
    found = {}
    for seed, (name, image) in enumerate(zip(NAMES, load_photographs(), strict=True)):
        corners = split_tiles(*image.shape[:2], seed)[split]
        found[name] = [image[y : y + TILE, x : x + TILE] for y, x in corners]
    return found


def crop(rng: np.random.Generator, split: SplitName, name: str, sides: tuple[int, int]) -> np.ndarray:
    """A square crop of a photograph, its side out of the inclusive range, flipped at random and resized to SIZE."""
    own = tiles(split)[name]
    tile = own[rng.integers(len(own))]
    side = int(rng.integers(sides[0], sides[1] + 1))
    top, left = rng.integers(TILE - side + 1, size=2)
    part = tile[top : top + side, left : left + side]
    part = cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA if side > SIZE else cv2.INTER_CUBIC)
    return part[:, ::-1] if rng.random() < 0.5 else part
