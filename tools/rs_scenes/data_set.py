"""The synthetic remote-sensing scenes on the disk: folders of pictures by modality, and what is on them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from files.data_set import make_data_set
from files.paths import DATA

from backbones.remote_sensing.reading import need_tifffile
from rs_scenes.boxes import coco_instances, dota_text
from rs_scenes.changes import draw_pair
from rs_scenes.objects import Target
from rs_scenes.plan import SCENE_CLASSES
from rs_scenes.scene import draw_scene
from rs_scenes.writing import write_bands

DEFAULT_OUT = DATA / "rs_scenes"
SPLITS = ("train", "val", "test")
#: What a split's pictures of one date, and of two, lie in.
MODALITIES = ("optical", "optical_clear", "optical_cloudy", "sar")
CLASS_MODALITIES = ("optical", "sar")
PAIR_MODALITIES = ("optical_before", "optical_after", "sar_before", "sar_after")
SCENE, PAIR = 0, 1


def generator(seed: int, split: str, index: int, kind: int) -> np.random.Generator:
    """The source of all that is random in one scene (0) or pair (1): nothing else is needed to draw it again."""
    return np.random.default_rng([seed, SPLITS.index(split), index, kind])


def scene_class(index: int) -> str:
    """The class of a scene or pair by its number: each in turn."""
    return tuple(SCENE_CLASSES)[index % len(SCENE_CLASSES)]


def clouded(index: int) -> bool:
    """Whether the folder ``optical`` has a scene under clouds: half of each class."""
    return index // len(SCENE_CLASSES) % 2 == 1


def _link(file: Path, folder: Path) -> None:
    try:
        os.link(file, folder / file.name)
    except OSError:  # no links on this disk
        shutil.copyfile(file, folder / file.name)


def _write_scenes(out: Path, split: str, count: int, size: int, seed: int) -> None:
    for folder in (*(f"{split}/{m}" for m in MODALITIES), f"{split}_labels", f"{split}_dota"):
        (out / folder).mkdir(parents=True)
    for name, modality in itertools.product(SCENE_CLASSES, CLASS_MODALITIES):
        (out / "classes" / split / modality / name).mkdir(parents=True)
    annotated: list[tuple[str, tuple[Target, ...]]] = []
    records = []
    for index in range(count):
        scene = draw_scene(generator(seed, split, index, SCENE), size, scene_class(index))
        stem = f"{index:05d}"
        optical = scene.cloudy if clouded(index) else scene.clear
        pictures = (optical, scene.clear, scene.cloudy, scene.sar)
        for modality, picture in zip(MODALITIES, pictures, strict=True):
            write_bands(out / split / modality / f"{stem}.tif", picture)
        cv2.imwrite(str(out / f"{split}_labels" / f"{stem}.png"), scene.layout.labels)
        for modality in CLASS_MODALITIES:
            _link(out / split / modality / f"{stem}.tif", out / "classes" / split / modality / scene.scene_class)
        (out / f"{split}_dota" / f"{stem}.txt").write_text(dota_text(scene.targets))
        annotated.append((f"{stem}.tif", scene.targets))
        cover = round(scene.cover, 4)
        records.append({"file": stem, "class": scene.scene_class, "clouded": clouded(index), "cloud_cover": cover})
    (out / f"{split}.json").write_text(json.dumps(coco_instances(annotated, size)))
    (out / f"{split}_scenes.json").write_text(json.dumps(records))


def _write_pairs(out: Path, split: str, count: int, size: int, seed: int) -> None:
    folder = out / f"{split}_changes"
    for name in (*PAIR_MODALITIES, "labels", "labels_before", "labels_after"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        pair = draw_pair(generator(seed, split, index, PAIR), size, scene_class(index))
        stem = f"{index:05d}"
        pictures = (pair.before.optical, pair.after.optical, pair.before.sar, pair.after.sar)
        for modality, picture in zip(PAIR_MODALITIES, pictures, strict=True):
            write_bands(folder / modality / f"{stem}.tif", picture)
        maps = {"labels": pair.change, "labels_before": pair.before.labels, "labels_after": pair.after.labels}
        for name, labels in maps.items():
            cv2.imwrite(str(folder / name / f"{stem}.png"), labels)


def make_rs_scenes(
    out: Path | None = None, *, size: int = 256, train: int = 400, val: int = 100, test: int = 100, seed: int = 0
) -> bool:
    """Write the data set, with as many pairs as scenes in each split; False where the same one is already there.

    It is written to a neighbouring folder and moved into place when complete.

    Raises:
        ValueError: A size, count or seed is out of range.
        FileExistsError: ``out`` holds something else than such a data set.
        ModuleNotFoundError: tifffile is not installed.
    """
    counts = {"train": train, "val": val, "test": test}
    if size < 128:
        raise ValueError(f"size must be >= 128, got {size=}")
    for split, count in counts.items():
        if count < len(SCENE_CLASSES):
            raise ValueError(f"{split} must be >= {len(SCENE_CLASSES)}, one of each class; got {split}={count}")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed=}")
    need_tifffile()
    # Other names than in the records of other data sets, which must not be taken for an older form of this one.
    meta = {"synthetic": "optical and SAR-like scenes", "side": size, "scenes": counts, "seed": seed, "version": 2}

    def fill(folder: Path) -> None:
        for split, count in counts.items():
            _write_scenes(folder, split, count, size, seed)
            _write_pairs(folder, split, count, size, seed)

    return make_data_set(DEFAULT_OUT if out is None else out, meta, "remote-sensing scenes", fill)
