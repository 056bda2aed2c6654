"""A file of tools/export.py as a predictor: onnxruntime alone, no config and no checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from mmcv.transforms import LoadImageFromFile
from torch import Tensor

from backbones.openmmlab.export import paste
from prediction import tiles
from prediction.drawing import colours
from prediction.instances import Instances, encode, place
from prediction.tiles import Side, Tiling


class ExportedPredictor:
    """An exported detector or segmentor, on the CPU; images are resized as the metadata say.

    Raises:
        ValueError: The file is no ONNX file, or not one of tools/export.py, or needs steps that it does not describe.
    """

    def __init__(self, path: Path) -> None:
        try:
            # From memory, so that it cannot name other files to be read.
            self._session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's, of several kinds
            raise ValueError(f"{path.name} is not an ONNX file that onnxruntime runs: {_first_line(error)}") from None
        told = self._session.get_modelmeta().custom_metadata_map
        try:
            self._meta = {key: told[key] if key in _TEXTS else json.loads(told[key]) for key in (*_TEXTS, *_VALUES)}
            for key in _OF_TASK[self._meta["task"]]:
                self._meta[key] = json.loads(told[key])
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{path.name} is not a detector or segmentor of tools/export.py: its metadata have no valid {error}"
            ) from None
        if self._meta["channels"] != "BGR" or self._meta["other_steps"]:
            raise ValueError(
                f"{path.name} takes channels {self._meta['channels']} after {self._meta['other_steps']}, of which this "
                "command knows nothing: prepare images yourself, or use --config and --checkpoint"
            )
        self.task: str = self._meta["task"]
        self.classes = tuple(self._meta["classes"])
        self.palette = colours(self._meta["palette"], len(self.classes))
        self.load = LoadImageFromFile()
        self.bands = None
        self.iou: float = self._meta.get("iou_threshold", 0.5)
        self.threshold: float = self._meta.get("threshold", 0.5)
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, images: Sequence[np.ndarray]) -> list[Any]:
        return [(self._detect if self.task == "detection" else self._segment)(image) for image in images]

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        if min(image.shape[:2]) < self._meta["min_side"]:
            height, width = image.shape[:2]
            raise ValueError(f"the network takes {self._meta['min_side']} px and more a side, got {height} x {width}")
        given = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        return dict(zip(self._names, self._session.run(None, {"image": given}), strict=True))

    def _resized(self, image: np.ndarray) -> np.ndarray:
        resize = self._meta["resize"]
        if resize is None:
            return image
        change = mmcv.imrescale if resize["keep_ratio"] else mmcv.imresize
        return change(image, tuple(resize["scale"]))

    def _detect(self, image: np.ndarray) -> Instances:
        resized, size = self._resized(image), image.shape[:2]
        found = self._run(resized)
        factor = np.array([resized.shape[1] / size[1], resized.shape[0] / size[0]] * 2, np.float32)
        boxes, masks = found["boxes"] / factor, None
        if "masks" in found:
            pairs = zip(found["masks"], boxes, strict=True)
            masks = [_whole_mask(mask, box, size, self._meta["mask_threshold"]) for mask, box in pairs]
        return Instances(size, boxes, found["scores"], found["labels"], masks)

    def _segment(self, image: np.ndarray) -> Tensor:
        resized, slide = self._resized(image), self._meta["slide"]
        if slide is None:
            scores = torch.from_numpy(self._run(resized)["scores"])
        else:
            sides = (Side(c, c - s) for c, s in zip(slide["crop_size"], slide["stride"], strict=True))
            rows = tiles.segment(self._windows, resized, Tiling(*sides), lambda part: part.permute(1, 2, 0).numpy())
            scores = torch.from_numpy(rows).permute(2, 0, 1)[None]
        if scores.shape[2:] != image.shape[:2]:
            scores = F.interpolate(scores, image.shape[:2], mode="bilinear", align_corners=self._meta["align_corners"])
        return scores[0].sigmoid() if scores.shape[1] == 1 else scores[0]

    def _windows(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        return [torch.from_numpy(self._run(image)["scores"][0]) for image in images]


_TEXTS = ("task", "channels")
_VALUES = ("classes", "palette", "resize", "other_steps", "min_side")
_OF_TASK = {
    "detection": ("iou_threshold", "mask_threshold"),
    "segmentation": ("threshold", "align_corners", "slide"),
}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _whole_mask(mask: np.ndarray, box: np.ndarray, size: tuple[int, int], threshold: float) -> dict[str, Any]:
    """A mask of the cells of its box as run lengths in the whole image; only around the box is it computed."""
    left, top = np.maximum(np.floor(box[:2]) - 1, 0).astype(int)
    right, bottom = np.minimum(np.ceil(box[2:]) + 1, size[::-1]).astype(int)
    if right <= left or bottom <= top:
        return encode(np.zeros(size, bool))
    inside = torch.from_numpy(box - np.array([left, top, left, top], np.float32))[None]
    part = paste(torch.from_numpy(mask)[None], inside, (bottom - top, right - left))[0] >= threshold
    return place(encode(part.numpy()), top, left, size)
