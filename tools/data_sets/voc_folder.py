"""Folders as Pascal VOC lays them out: JPEGImages, Annotations and lists of names in ImageSets/Main."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from data_sets.coco import coco_record
from data_sets.voc import Annotation, read_voc

IMAGES, ANNOTATIONS, LISTS = "JPEGImages", "Annotations", "ImageSets/Main"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


def find_splits(folder: Path) -> list[str]:
    """The names of all lists of a folder.

    Raises:
        FileNotFoundError: It has none, or lacks one of VOC's folders.
    """
    for name in (IMAGES, ANNOTATIONS, LISTS):
        if not (folder / name).is_dir():
            raise FileNotFoundError(f"{folder} is not laid out as VOC: it has no folder {name}")
    splits = sorted(file.stem for file in (folder / LISTS).glob("*.txt"))
    if not splits:
        raise FileNotFoundError(f"{folder / LISTS} has no list of names (*.txt)")
    return splits


def convert(folder: Path, splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Each split as COCO's record; the categories are all names in these splits, in the order of the alphabet.

    Raises:
        FileNotFoundError: A list is not there.
        ValueError: Files that are missing or cannot be read; all are named.
    """
    problems: list[str] = []
    read = {split: _read(folder, split, problems) for split in splits}
    if problems:
        raise ValueError("\n".join(problems))
    classes = sorted({box.name for annotated in read.values() for _, a in annotated for box in a.boxes})
    return {split: coco_record(annotated, classes) for split, annotated in read.items()}


def _read(folder: Path, split: str, problems: list[str]) -> list[tuple[str, Annotation]]:
    file = folder / LISTS / f"{split}.txt"
    if not file.is_file():
        raise FileNotFoundError(f"no such list: {file}; there are {', '.join(find_splits(folder))}")
    found = []
    for line in file.read_text().splitlines():
        if not line.strip():
            continue
        name = line.split()[0]
        try:
            found.append(_one(folder, name))
        except (OSError, ValueError) as error:
            problems.append(str(error))
    return found


def _one(folder: Path, name: str) -> tuple[str, Annotation]:
    annotation = read_voc(folder / ANNOTATIONS / f"{name}.xml")
    images = [path for suffix in _SUFFIXES if (path := folder / IMAGES / f"{name}{suffix}").is_file()]
    if not images:
        raise ValueError(f"{folder / IMAGES / name}.jpg is not there, nor is a PNG")
    with Image.open(images[0]) as image:
        size = image.size
    if size != (annotation.width, annotation.height):
        said = f"{annotation.width} x {annotation.height}"
        raise ValueError(f"{images[0]} is {size[0]} x {size[1]} px, and its XML file says {said}")
    return images[0].name, annotation
