"""The digit-scenes data set on the disk: images, label maps, COCO instances and a record of what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from files.data_set import make_data_set
from files.paths import DATA

from scenes.digits import load_digits, split_digits
from scenes.drawing import Instance, draw_scene
from scenes.photographs import region
from scenes.styles import STYLES, load_photographs

DEFAULT_OUT = DATA / "digit_scenes"
CLASSES = tuple(str(d) for d in range(10))


def _annotations(instances: list[Instance], image_id: int, first_id: int) -> Iterator[dict]:
    from pycocotools import mask as coco_mask

    for offset, instance in enumerate(instances):
        rle = coco_mask.encode(np.asfortranarray(instance.mask.astype(np.uint8)))
        yield {
            "id": first_id + offset,
            "image_id": image_id,
            "category_id": instance.label,
            "bbox": [float(v) for v in coco_mask.toBbox(rle)],
            "area": float(coco_mask.area(rle)),
            "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode()},
            "iscrowd": 0,
        }


def _write_split(out: Path, split: str, count: int, size: int, seed: int, style: str) -> None:
    photographs = [region(p, split) for p in load_photographs(style)]
    bitmaps, labels = load_digits()
    own = split_digits(labels, seed)[split]
    rng = np.random.default_rng([seed, ("train", "val").index(split)])
    coco: dict[str, list] = {"images": [], "annotations": []}
    (out / split).mkdir(parents=True)
    (out / f"{split}_labels").mkdir()
    for image_id in range(count):
        scene, instances = draw_scene(rng, photographs, bitmaps[own], labels[own], size, style=style)
        name = f"{image_id:05d}.png"
        label_map = np.zeros((size, size), np.uint8)
        for instance in instances:
            label_map[instance.mask] = 1 + instance.label
        cv2.imwrite(str(out / split / name), scene[..., ::-1])
        cv2.imwrite(str(out / f"{split}_labels" / name), label_map)
        coco["images"].append({"id": image_id, "file_name": name, "width": size, "height": size})
        coco["annotations"] += _annotations(instances, image_id, len(coco["annotations"]) + 1)
    coco["categories"] = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
    (out / f"{split}.json").write_text(json.dumps(coco))


def default_out(style: str) -> Path:
    """Where the data set of a style goes."""
    return DEFAULT_OUT if style == "day" else DEFAULT_OUT.with_name(f"{DEFAULT_OUT.name}_{style}")


def make_digit_scenes(
    out: Path | None = None,
    *,
    style: str = "day",
    size: int = 96,
    train: int = 3000,
    val: int = 200,
    seed: int = 0,
    replace: bool = True,
) -> bool:
    """Write the data set, to :func:`default_out` or ``out``; returns False where the same one is already there.

    It is written to a neighbouring folder and moved into place when complete.

    Raises:
        ValueError: A size or count is out of range, or there is no such style.
        FileExistsError: ``out`` holds something else than such a data set, or, without ``replace``, one that was made
            with other options.
    """
    if size < 64 or train < 1 or val < 1 or seed < 0:
        raise ValueError(f"size must be >= 64, train and val >= 1, seed >= 0; got {size=}, {train=}, {val=}, {seed=}")
    if style not in STYLES:
        raise ValueError(f"style must be one of {sorted(STYLES)}, got {style!r}")
    out = default_out(style) if out is None else out
    meta: dict[str, int | str] = {"size": size, "train": train, "val": val, "seed": seed, "version": 2}
    if style != "day":  # older data sets, which are all of that style, stay valid
        meta["style"] = style

    def fill(folder: Path) -> None:
        for split, count in (("train", train), ("val", val)):
            _write_split(folder, split, count, size, seed, style)

    return make_data_set(out, meta, "digit-scenes", fill, replace=replace)
