"""Annotations of ships and aircraft: COCO's instances with oriented boxes beside them, and DOTA's text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rs_scenes.objects import KINDS, Target, box_of


def coco_instances(scenes: Iterable[tuple[str, Sequence[Target]]], size: int) -> dict[str, list[dict[str, Any]]]:
    """One split: file names and what is in them, in COCO's form; ids count from 1.

    ``bbox`` is [left, top, width, height] of the mask's pixels; ``rotated`` is [centre x, centre y, longer side,
    shorter side, angle], the angle of the longer side from the x axis in radians, clockwise, in [-pi/2, pi/2).
    """
    from pycocotools import mask as coco_mask

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (file_name, targets) in enumerate(scenes, start=1):
        images.append({"id": number, "file_name": file_name, "width": size, "height": size})
        for target in targets:
            mask = target.mask(size)
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            annotations.append(
                {
                    **{"id": len(annotations) + 1, "image_id": number, "category_id": KINDS.index(target.kind) + 1},
                    **{"bbox": [float(v) for v in box_of(mask)], "area": float(mask.sum()), "iscrowd": 0},
                    "rotated": [round(v, 6) for v in target.rotated()],
                    "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode()},
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(KINDS, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def dota_text(targets: Iterable[Target]) -> str:
    """A line for each object: x and y of its corners, clockwise from the stern's left, category, 0 (not difficult)."""
    lines = []
    for target in targets:
        corners = " ".join(f"{value:.2f}" for value in target.corners().ravel())
        lines.append(f"{corners} {target.kind} 0\n")
    return "".join(lines)
