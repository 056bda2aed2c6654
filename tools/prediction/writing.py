"""What predictions leave behind: pictures, label maps and one JSON, each file whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from files.whole import write_json
from pycocotools import mask as coco_mask

from backbones.training.files import write_whole
from prediction.drawing import draw_instances, draw_labels
from prediction.instances import Instances
from prediction.predictors import Predictor
from prediction.sources import Source


def write_picture(path: Path, image: np.ndarray) -> None:
    """An image, blue first or labels, in the format of the suffix; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(path.suffix, image)[1]
    write_whole(path, lambda part: part.write_bytes(encoded.tobytes()))


class Film:
    """A video of the pictures that are added, at ``path`` once it is closed."""

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate, self._writer = path, rate, None
        self._part = path.with_name(f"part-{path.name}")  # OpenCV chooses the format by the suffix

    def add(self, image: np.ndarray) -> None:
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = image.shape[1::-1]
            self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, size)
        self._writer.write(np.ascontiguousarray(image))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
            write_whole(self.path, lambda part: self._part.replace(part))


class Results:
    """Predictions in a folder: ``pictures/``, ``labels/`` for a segmentor, and ``predictions.json`` at the end.

    The JSON is in COCO's form (``images``, ``categories``, ``annotations`` with ``score``); boxes are x, y, width and
    height, masks run lengths. Categories count from 1 for a detector, and are the values of the label maps otherwise.
    """

    def __init__(self, out: Path, predictor: Predictor, score: float) -> None:
        self.out, self.predictor, self.score = out, predictor, score
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []
        self.film: Film | None = None
        self.first = int(predictor.task == "detection")

    def begin_video(self, source: Source, rate: float) -> None:
        """The frames that follow are added to one video."""
        name = source.name if source.name.lower().endswith(".mp4") else f"{source.name}.mp4"
        self.film = Film(self.out / "pictures" / name, rate)

    def end_video(self) -> None:
        if self.film is not None:
            self.film.close()
        self.film = None

    def skip(self, source: Source, reason: str) -> None:
        self.skipped.append({"file_name": source.file_name, "reason": reason})

    def add(self, source: Source, image: np.ndarray, found: Instances | np.ndarray, frame: int | None = None) -> str:
        """Write what was found in an image, objects or labels, and say it in a few words."""
        height, width = image.shape[:2]
        if self.predictor.bands is not None:
            image = self.predictor.bands.picture(image)
        record = {"id": len(self.images) + 1, "file_name": source.file_name, "height": height, "width": width}
        name = source.name
        if frame is not None:
            record["frame"], name = frame, f"{source.name}/{frame:06d}"
        if isinstance(found, Instances):
            shown = found.above(self.score)
            drawn = draw_instances(image, shown, self.predictor.classes, self.predictor.palette)
            self._note(record["id"], found)
            said = f"{len(shown)} objects of score {self.score:g} or more, {len(found)} in all"
        else:
            drawn = draw_labels(image, found, self.predictor.palette)
            record["labels"] = f"labels/{name}.png"
            write_picture(self.out / record["labels"], found)
            said = self._shares(found)
        if self.film is not None:
            self.film.add(drawn)
            record["picture"] = self.film.path.relative_to(self.out).as_posix()
        else:
            record["picture"] = f"pictures/{name}.jpg"
            write_picture(self.out / record["picture"], drawn)
        self.images.append(record)
        return said

    def _note(self, image_id: int, found: Instances) -> None:
        for i in range(len(found)):
            x0, y0, x1, y1 = (round(float(value), 3) for value in found.boxes[i])
            box = [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)]
            annotation = {"id": len(self.annotations) + 1, "image_id": image_id, "bbox": box, "area": box[2] * box[3]}
            annotation |= {"category_id": int(found.labels[i]) + 1, "score": float(found.scores[i]), "iscrowd": 0}
            if found.masks is not None:
                annotation |= {"segmentation": found.masks[i], "area": int(coco_mask.area(found.masks[i]))}
            self.annotations.append(annotation)

    def _shares(self, labels: np.ndarray) -> str:
        counts = np.bincount(labels.ravel(), minlength=len(self.predictor.classes)) / labels.size
        order = [i for i in np.argsort(-counts, kind="stable") if counts[i] > 0]
        return ", ".join(f"{self.predictor.classes[i]} {counts[i]:.1%}" for i in order[:4])

    def close(self, info: dict[str, Any]) -> None:
        """Write ``predictions.json``."""
        categories = [
            {"id": i + self.first, "name": name, "color": colour}
            for i, (name, colour) in enumerate(zip(self.predictor.classes, self.predictor.palette, strict=True))
        ]
        record = {"info": info, "categories": categories, "images": self.images, "annotations": self.annotations}
        write_json(self.out / "predictions.json", {**record, "skipped": self.skipped})
