"""COCO's annotation files: entries, ids, categories and classes, boxes and masks."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from checks.findings import Findings
from checks.masks import extent
from checks.view import Picture, View

#: How far in pixels a box may reach over the edge or beside its mask: annotators round.
TOLERANCE = 1.0
_PARTS = ("images", "annotations", "categories")
_READ = {
    "images": {"id": int, "file_name": str, "width": (int, float), "height": (int, float)},
    "annotations": {"id": int, "image_id": int, "category_id": int, "bbox": list},
    "categories": {"id": int, "name": str},
}


def check_coco(view: View, findings: Findings) -> tuple[list[Picture], Counter[str]]:
    """Check the annotation file of a split: its images, and the number of annotations of each class."""
    record = _read(view, findings)
    if record is None:
        return [], Counter()
    parts = {part: _complete(record[part], part, view, findings) for part in _PARTS}
    for part, entries in parts.items():
        _check_ids(part, entries, view, findings)
    images = {image["id"]: image for image in parts["images"]}
    names = {category["id"]: category["name"] for category in parts["categories"]}
    for name in view.classes:
        if name not in names.values():
            findings.add("class-missing", view.split, f"{name} is not among {', '.join(map(str, names.values()))}")
    listed = [category["name"] for category in parts["categories"] if category["name"] in view.classes]
    if listed != list(view.classes) and sorted(listed) == sorted(view.classes):
        findings.add(
            "class-order", view.split, f"{', '.join(listed)} in the file, {', '.join(view.classes)} in the config"
        )
    counts: Counter[str] = Counter()
    for annotation in parts["annotations"]:
        image, name = images.get(annotation["image_id"]), names.get(annotation["category_id"])
        if image is None:
            findings.add("image-unknown", view.split, f"annotation {annotation['id']}, image {annotation['image_id']}")
            continue
        where = f"annotation {annotation['id']} of {image['file_name']}"
        if name is None:
            findings.add("category-unknown", view.split, f"{where}, category {annotation['category_id']}")
        elif name not in view.classes:
            findings.add("category-unused", view.split, name)
        else:
            counts[name] += 1
        _check_box(annotation, image, where, view, findings)
    folder = Path(view.dataset.data_prefix["img"])
    if parts["images"] and not folder.is_dir():
        findings.add("place-missing", view.split, str(folder))
        return [], counts
    return [
        Picture(folder / image["file_name"], image["file_name"], (int(image["width"]), int(image["height"])))
        for image in parts["images"]
    ], counts


def _read(view: View, findings: Findings) -> dict[str, Any] | None:
    file = Path(view.dataset.ann_file)
    if not file.is_file():
        findings.add("place-missing", view.split, str(file))
        return None
    try:
        record = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        findings.add("annotations-broken", view.split, f"{file}: {error}")
        return None
    if isinstance(record, dict) and all(isinstance(record.get(part), list) for part in _PARTS):
        return record
    lacks = [p for p in _PARTS if not isinstance(record.get(p), list)] if isinstance(record, dict) else list(_PARTS)
    findings.add("annotations-broken", view.split, f"{file} has no list of {', '.join(lacks)}")
    return None


def _complete(entries: list[Any], part: str, view: View, findings: Findings) -> list[dict[str, Any]]:
    whole = []
    for place, entry in enumerate(entries):
        keys = entry if isinstance(entry, dict) else {}
        wrong = [key for key, kind in _READ[part].items() if not _fits(keys.get(key), kind)]
        if wrong:
            findings.add("entry-incomplete", view.split, f"{part}[{place}]: {', '.join(wrong)}")
        else:
            whole.append(entry)
    return whole


def _fits(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not (isinstance(value, float) and not math.isfinite(value))


def _check_ids(part: str, entries: Iterable[dict[str, Any]], view: View, findings: Findings) -> None:
    for number, times in Counter(entry["id"] for entry in entries).items():
        if times > 1:
            findings.add("id-repeated", view.split, f"{part}: id {number}, {times} times")


def _check_box(annotation: dict[str, Any], image: dict[str, Any], where: str, view: View, findings: Findings) -> None:
    box = annotation["bbox"]
    if len(box) != 4 or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in box):
        findings.add("entry-incomplete", view.split, f"{where}: bbox {box}")
        return
    left, top, width, height = box
    over = max(-left, -top, left + width - image["width"], top + height - image["height"])
    if width < 0 or height < 0:
        findings.add("box-inverted", view.split, f"{where}: {box}")
    elif width < 1 or height < 1:
        findings.add("box-empty", view.split, f"{where}: {box}")
    elif min(left + width, top + height) <= 0 or left >= image["width"] or top >= image["height"]:
        findings.add("box-outside", view.split, f"{where}: {box} in {image['width']} x {image['height']}")
    elif over > TOLERANCE:
        findings.add("box-over-edge", view.split, f"{where}: {box} in {image['width']} x {image['height']}")
    else:
        _check_mask(annotation, image, where, view, findings)


def _check_mask(annotation: dict[str, Any], image: dict[str, Any], where: str, view: View, findings: Findings) -> None:
    if not annotation.get("segmentation"):
        return
    try:
        edges = extent(annotation["segmentation"], int(image["width"]), int(image["height"]))
    except ValueError as error:
        findings.add("mask-broken", view.split, f"{where}: {error}")
        return
    left, top, width, height = annotation["bbox"]
    apart = max(abs(a - b) for a, b in zip(edges, (left, top, left + width, top + height), strict=True))
    if apart > max(2 * TOLERANCE, 0.05 * max(width, height)):
        findings.add("mask-disagrees", view.split, f"{where}: up to {apart:.0f} px beside {annotation['bbox']}")
