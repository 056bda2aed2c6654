"""The tree-crowns data set: tiles of four aerial photographs from the package deepforest, with boxes of crowns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from files.data_set import make_data_set
from files.paths import DATA

from data_sets.coco import coco_record
from data_sets.voc import Annotation, Box, read_voc

DEFAULT_OUT = DATA / "tree_crowns"
CLASS = "tree"
#: Side of a tile in pixels, and the smallest that is kept of what remains at the right and at the bottom.
SIZE, SMALLEST = 192, 64
#: A crown that a tile's border cuts belongs to the tile if this share of its box is inside.
VISIBLE = 0.3
#: Rows of tiles of the largest photograph, from the bottom, that are held out.
HELD_OUT = 3
FOREST, OTHER = "2019_YELL_2_528000_4978000_image_crop2", "2019_YELL_2_541000_4977000_image_crop"
#: The photographs of each split; the first is cut into two.
SPLITS = {"train": (FOREST,), "val": (FOREST,), "test": (OTHER,), "transfer": ("OSBS_029", "SOAP_061")}


class Tile(NamedTuple):
    """A part of a photograph, by its edges in pixels."""

    left: int
    top: int
    right: int
    bottom: int


def find_photographs() -> Path:
    """The folder with deepforest's photographs; the package is not imported, and nothing that it needs must be there.

    Raises:
        FileNotFoundError: The package is not installed, or has other files.
    """
    spec = find_spec("deepforest")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("tree crowns come from a package: pip install --no-deps deepforest==2.1.0")
    folder = Path(spec.submodule_search_locations[0], "data")
    files = [folder / f"{name}{suffix}" for names in SPLITS.values() for name in names for suffix in (".png", ".xml")]
    if missing := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(f"{folder} lacks {missing[0]}: pip install --no-deps deepforest==2.1.0")
    return folder


def _edges(length: int) -> list[tuple[int, int]]:
    cuts = [(start, min(start + SIZE, length)) for start in range(0, length, SIZE)]
    return [(start, stop) for start, stop in cuts if stop - start >= SMALLEST]


def tiles(width: int, height: int) -> list[list[Tile]]:
    """Rows of tiles of 192 px; the last row and column are what is left over, and not there below 64 px.

    No two share a pixel.
    """
    return [[Tile(left, top, right, bottom) for left, right in _edges(width)] for top, bottom in _edges(height)]


def boxes_in(tile: Tile, boxes: tuple[Box, ...]) -> tuple[Box, ...]:
    """The boxes of which at least 30 % are in a tile, clipped to it and counted from its corner."""
    found = []
    for box in boxes:
        left, right = (float(np.clip(x, tile.left, tile.right)) for x in (box.left, box.right))
        top, bottom = (float(np.clip(y, tile.top, tile.bottom)) for y in (box.top, box.bottom))
        area = (box.right - box.left) * (box.bottom - box.top)
        if (right - left) * (bottom - top) >= VISIBLE * area > 0:
            found.append(Box(CLASS, left - tile.left, top - tile.top, right - tile.left, bottom - tile.top))
    return tuple(found)


def _of_split(split: str, rows: list[list[Tile]]) -> Iterator[Tile]:
    parts = {"train": rows[:-HELD_OUT], "val": rows[-HELD_OUT:]}
    for row in parts.get(split, rows):
        yield from row


def _write_split(out: Path, split: str, source: Path) -> None:
    annotated: list[tuple[str, Annotation]] = []
    (out / split).mkdir(parents=True)
    for name in SPLITS[split]:
        photograph = cv2.imread(str(source / f"{name}.png"))
        annotation = read_voc(source / f"{name}.xml")
        if photograph is None or photograph.shape[:2] != (annotation.height, annotation.width):
            raise ValueError(f"{source / name}.png is not a picture of {annotation.width} x {annotation.height} px")
        for tile in _of_split(split, tiles(annotation.width, annotation.height)):
            file = f"{name}_{tile.top:04d}_{tile.left:04d}.png"
            cv2.imwrite(str(out / split / file), photograph[tile.top : tile.bottom, tile.left : tile.right])
            size = tile.right - tile.left, tile.bottom - tile.top
            annotated.append((file, Annotation(*size, boxes_in(tile, annotation.boxes))))
    (out / f"{split}.json").write_text(json.dumps(coco_record(annotated, [CLASS])))


def make_tree_crowns(out: Path = DEFAULT_OUT) -> bool:
    """Write the data set; returns False where the same one is already there.

    It is written to a neighbouring folder and moved into place when complete.

    Raises:
        FileNotFoundError: deepforest's photographs are not there.
        FileExistsError: ``out`` holds something else than such a data set.
        ValueError: A photograph or its annotation cannot be read.
    """
    source = find_photographs()
    meta: dict[str, Any] = {"tree_crowns": version("deepforest"), "size": SIZE, "visible": VISIBLE, "version": 1}

    def fill(folder: Path) -> None:
        for split in SPLITS:
            _write_split(folder, split, source)

    return make_data_set(out, meta, "tree-crowns", fill)
