"""Which models can be exported, and what they themselves give, to compare with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backbones.openmmlab.export.maps import ExportableBackbone
from backbones.openmmlab.export.rcnn import ExportableRCNN
from backbones.openmmlab.export.retinanet import ExportableRetinaNet
from backbones.openmmlab.export.segmentor import ExportableSegmentor

__all__ = ["exportable", "reference"]


def exportable(model: nn.Module, part: str = "model") -> nn.Module:
    """A module from the pixels of one image to a model's predictions, for any height and width.

    Its input is ``(1, 3, H, W)``, uint8, channels as the config's pipeline loads them; normalisation and padding are
    inside. Its ``outputs`` name what it returns:

    - ``scores`` ``(1, classes, H, W)`` of a segmentor, before softmax;
    - ``boxes`` ``(n, 4)``, ``scores`` and ``labels`` ``(n,)`` of a detector, the surest first, and ``masks``
      ``(n, h, w)`` of Mask R-CNN, the probability of the object in the cells of its box;
    - ``map0``, ``map1``, ... of a backbone.

    Args:
        model: A segmentor of mmseg (``EncoderDecoder``), or RetinaNet, Faster or Mask R-CNN of mmdet. It is copied.
        part: ``"model"`` or ``"backbone"``; any backbone.

    Raises:
        ValueError: The model is another; the message says what works.
    """
    if part == "backbone":
        with torch.no_grad():
            model.eval()
            return ExportableBackbone(model, len(model.backbone(torch.zeros(1, 3, 64, 64))))
    if part != "model":
        raise ValueError(f'part must be "model" or "backbone", got {part!r}')
    if hasattr(model, "decode_head"):
        return ExportableSegmentor(model)
    name = type(model).__name__
    if name == "RetinaNet":
        return ExportableRetinaNet(model)
    if name in ("FasterRCNN", "MaskRCNN"):
        return ExportableRCNN(model)
    raise ValueError(
        f"{name} cannot be exported whole: its boxes are found in steps that depend on their number "
        "and are restated for RetinaNet, FasterRCNN and MaskRCNN alone. part='backbone' exports its backbone"
    )


@torch.no_grad()
def reference(model: nn.Module, image: Tensor, part: str = "model") -> dict[str, Tensor]:
    """What the framework itself makes of an image, under the names of :func:`exportable`'s outputs.

    ``masks`` are those of the whole image, ``(n, H, W)``, boolean.

    Args:
        model: The model, in evaluation mode.
        image: ``(1, 3, H, W)``, uint8.
        part: As in :func:`exportable`.
    """
    size = tuple(image.shape[-2:])
    meta = {"ori_shape": size, "img_shape": size, "scale_factor": (1.0, 1.0)}
    if part == "model" and not hasattr(model, "decode_head"):
        from mmdet.structures import DetDataSample

        found = model.test_step({"inputs": [image[0]], "data_samples": [DetDataSample(metainfo=meta)]})
        found = found[0].pred_instances
        return {
            "boxes": found.bboxes,
            "scores": found.scores,
            "labels": found.labels,
            **({"masks": found.masks} if "masks" in found else {}),
        }
    from mmengine.structures import BaseDataElement

    class Sample(BaseDataElement):
        """Of either framework, where only sizes matter."""

    batch = {"inputs": [image[0]], "data_samples": [Sample(metainfo=meta)]}
    x = model.data_preprocessor(batch, False)["inputs"]
    if part == "backbone":
        return {f"map{i}": m for i, m in enumerate(model.backbone(x))}
    scores = model.encode_decode(x, [{**meta, "img_shape": tuple(x.shape[-2:])}])
    return {"scores": scores[..., : size[0], : size[1]]}
