"""Where a mask of COCO lies, polygons or run lengths."""

from __future__ import annotations

import math
from typing import Any

from pycocotools import mask as coco_mask


def extent(segmentation: Any, width: int, height: int) -> tuple[float, float, float, float]:
    """The left, top, right and bottom edge of a mask in pixels.

    Raises:
        ValueError: It is neither a list of polygons nor run lengths, has no pixel, or run lengths of another size.
    """
    if isinstance(segmentation, dict):
        return _of_runs(segmentation, width, height)
    if not isinstance(segmentation, list):
        raise ValueError(f"neither polygons nor run lengths but {type(segmentation).__name__}")
    edges = []
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon needs an even number of at least six coordinates")
        if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in polygon):
            raise ValueError("a polygon has a coordinate that is no number")
        edges.append((min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2])))
    lefts, tops, rights, bottoms = zip(*edges, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _of_runs(runs: dict[str, Any], width: int, height: int) -> tuple[float, float, float, float]:
    counts, size = runs.get("counts"), runs.get("size")
    if size != [height, width]:
        raise ValueError(f"run lengths of size {size}, the image has [{height}, {width}]")
    if isinstance(counts, list):
        if not all(isinstance(c, int) and c >= 0 for c in counts) or sum(counts) != width * height:
            raise ValueError("the run lengths are not those of all pixels")
        runs = coco_mask.frPyObjects(runs, height, width)
    elif not isinstance(counts, str):
        raise ValueError("run lengths without counts")
    if not coco_mask.area(runs):
        raise ValueError("the mask has no pixel")
    left, top, wide, high = (float(v) for v in coco_mask.toBbox(runs))
    return left, top, left + wide, top + high
