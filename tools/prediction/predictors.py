"""From images to what a trained model finds in them, by the framework's own steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from torch import Tensor

from prediction.bands import Bands
from prediction.drawing import Colour
from prediction.instances import Instances, from_framework
from prediction.models import Trained, image_pipeline, load_trained
from prediction.reading import Load

#: Where a model has no threshold of its own.
DEFAULT_IOU = 0.5


class Predictor(Protocol):
    """What predicts: a checkpoint or an exported file."""

    #: "detection" or "segmentation".
    task: str
    classes: tuple[str, ...]
    palette: list[Colour]
    #: Reads an image as the training did.
    load: Load
    #: Of images that are no pictures of three colours.
    bands: Bands | None
    #: Threshold of the non-maximum suppression that merges tiles.
    iou: float
    #: Of a segmentor with one output: above it lies class 1.
    threshold: float

    def __call__(self, images: Sequence[np.ndarray]) -> list[Any]:
        """:class:`~prediction.instances.Instances` of each image, or scores ``(C, H, W)`` at its own size.

        The images have one size.
        """
        ...


def labels_of(scores: Tensor, threshold: float) -> np.ndarray:
    """Labels ``(H, W)`` of scores ``(C, H, W)``: the largest; of one score, a probability, whether it is above."""
    labels = (scores[0] > threshold) if len(scores) == 1 else scores.argmax(0)
    return labels.cpu().numpy().astype(np.uint8 if len(scores) <= 256 else np.uint16)


class CheckpointPredictor:
    """A config's model with a checkpoint's weights; images pass the config's test pipeline.

    Raises:
        ValueError: As :func:`prediction.models.load_trained` and :func:`prediction.models.image_pipeline`.
    """

    def __init__(self, config: Config, checkpoint: Path) -> None:
        trained: Trained = load_trained(config, checkpoint)
        self.task, self.classes, self.palette = trained.task, trained.classes, trained.palette
        self._model = trained.model.to(get_device())
        load, *rest = image_pipeline(config)
        self.load, self._prepare, self.bands = Compose([load]), Compose(rest), Bands.of(load)
        self.iou = _iou_threshold(self._model.test_cfg) or DEFAULT_IOU
        self.threshold = getattr(getattr(self._model, "decode_head", None), "threshold", None) or 0.5

    @torch.no_grad()
    def __call__(self, images: Sequence[np.ndarray]) -> list[Instances] | list[Tensor]:
        packed = [self._prepare(_loaded(image)) for image in images]
        samples = self._model.test_step(pseudo_collate(packed))
        if self.task == "segmentation":
            return [sample.seg_logits.data for sample in samples]
        sizes = (image.shape[:2] for image in images)
        return [from_framework(sample.pred_instances, size) for sample, size in zip(samples, sizes, strict=True)]


def _loaded(image: np.ndarray) -> dict[str, Any]:
    """What a loading transform leaves of an image."""
    size = image.shape[:2]
    return {"img": image, "img_path": "", "img_id": 0, "img_shape": size, "ori_shape": size}


def _iou_threshold(test_cfg: Any) -> float | None:
    """Of the non-maximum suppression at a detector's end; None where there is none."""
    final = (test_cfg or {}).get("rcnn") or test_cfg or {}
    return (final.get("nms") or {}).get("iou_threshold")
