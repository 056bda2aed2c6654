"""COCO annotations and results, read together and checked against each other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from faster_coco_eval import COCO

#: Boxes, or masks of instances.
Kind = Literal["bbox", "segm"]

_FIELDS = {"bbox": "bbox", "segm": "segmentation"}


def read(annotations: Path, results: Path, kind: Kind, classes: Collection[str] | None = None) -> tuple[COCO, COCO]:
    """Truth and predictions, each as COCO's API takes them.

    Args:
        annotations: COCO annotations: images, annotations, categories.
        results: A list of ``{image_id, category_id, score, bbox | segmentation}``, boxes ``[x, y, w, h]``, masks RLE.
        kind: What is compared. Sizes of predictions are those of what is compared: areas of masks for ``"segm"``.
        classes: Names of the categories that count, as those of a config that leaves others out; None is all.

    Raises:
        ValueError: ``kind`` is neither, the results are no such list, or they or ``classes`` name what the annotations
            lack.
    """
    if kind not in _FIELDS:
        raise ValueError(f"kind must be one of {tuple(_FIELDS)}, got {kind!r}")
    records = json.loads(Path(results).read_text())
    truth = COCO(_of_classes(json.loads(Path(annotations).read_text()), classes, annotations))
    names = Counter(category["name"] for category in truth.dataset["categories"])
    if repeated := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"{annotations}: more than one category is called {repeated[0]!r}")
    if not isinstance(records, list):
        raise ValueError(f"{results} must hold a list of detections, got a {type(records).__name__}")
    fields = ("image_id", "category_id", "score", _FIELDS[kind])
    kept = [_checked(record, fields, truth, results) for record in records]
    return truth, truth.loadRes(kept)


def _of_classes(record: dict[str, Any], classes: Collection[str] | None, path: Path) -> dict[str, Any]:
    if classes is None:
        return record
    categories = [category for category in record["categories"] if category["name"] in classes]
    if lacking := set(classes) - {category["name"] for category in categories}:
        raise ValueError(f"{path} has no category {min(lacking)!r}")
    ids = {category["id"] for category in categories}
    annotations = [a for a in record["annotations"] if a["category_id"] in ids]
    return {**record, "categories": categories, "annotations": annotations}


def _checked(record: Any, fields: tuple[str, ...], truth: COCO, path: Path) -> dict[str, Any]:
    """What is compared of one detection, and no more: from a box beside a mask COCO's API would take the area."""
    if not isinstance(record, dict) or (missing := [field for field in fields if field not in record]):
        lacks = f"lacks {missing[0]!r}" if isinstance(record, dict) else "is not an object"
        raise ValueError(f"{path}: a detection {lacks}: {str(record)[:80]}")
    for field, known in (("image_id", truth.imgs), ("category_id", truth.cats)):
        if record[field] not in known:
            raise ValueError(f"{path}: a detection has {field} {record[field]!r}, which the annotations lack")
    return {field: record[field] for field in fields}


def class_names(truth: COCO) -> tuple[str, ...]:
    """Names of the categories, in the order of their ids, which is that of all class indices here."""
    return tuple(truth.cats[i]["name"] for i in sorted(truth.cats))
