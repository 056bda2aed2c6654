"""COCO's annotations of boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from data_sets.voc import Annotation


def coco_record(annotated: Iterable[tuple[str, Annotation]], classes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """One split: files and what is in them, in COCO's form; ids count from 1.

    What VOC calls difficult counts neither for nor against a detector; in COCO that is a crowd.

    Raises:
        ValueError: A box of a class that is not among ``classes``.
    """
    ids = {name: i for i, name in enumerate(classes, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for file_name, annotation in annotated:
        image = {
            **{"id": len(images) + 1, "file_name": file_name},
            **{"width": annotation.width, "height": annotation.height},
        }
        images.append(image)
        for box in annotation.boxes:
            if box.name not in ids:
                raise ValueError(f"{file_name} has a box of class {box.name!r}; the classes are {', '.join(classes)}")
            width, height = box.right - box.left, box.bottom - box.top
            annotations.append(
                {
                    **{"id": len(annotations) + 1, "image_id": image["id"], "category_id": ids[box.name]},
                    **{"bbox": [box.left, box.top, width, height], "area": width * height},
                    "iscrowd": int(box.difficult),
                }
            )
    categories = [{"id": i, "name": name} for name, i in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}
