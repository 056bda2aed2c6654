"""Boxes from what heads give, written so that every number in it follows the size of the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import nms

__all__ = ["candidates", "check_boxes", "check_suppression", "decode", "suppressed", "wide_enough"]


def check_boxes(head: nn.Module) -> None:
    """Refuse a head whose boxes are not coded as in Faster R-CNN.

    Raises:
        ValueError: It has another coder, decodes outside it, or its loss has an activation of its own.
    """
    from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

    if type(head.bbox_coder) is not DeltaXYWHBBoxCoder or head.bbox_coder.add_ctr_clamp:
        raise ValueError(f"bbox_coder must be a DeltaXYWHBBoxCoder without add_ctr_clamp, got {head.bbox_coder!r}")
    if getattr(head.loss_cls, "custom_cls_channels", False):
        raise ValueError(f"{type(head.loss_cls).__name__} has an activation of its own, which cannot be exported")


def check_suppression(config: Any, name: str, counts: Sequence[str] = ("nms_pre", "max_per_img")) -> None:
    """Refuse another suppression than the plain one by class of a limited number of boxes.

    Raises:
        ValueError: ``config.nms`` is not ``dict(type="nms", iou_threshold=...)``, or one of ``counts`` is none.
    """
    nms_config = config.get("nms") or {}
    if nms_config.get("type") != "nms" or not set(nms_config) <= {"type", "iou_threshold", "split_thr"}:
        raise ValueError(
            f'{name}.nms must be dict(type="nms", iou_threshold=...) to be exported, got {config.get("nms")!r}'
        )
    for count in counts:
        if config.get(count, -1) < 1:  # with -1, mmdet drops the last box
            raise ValueError(f"{name}.{count} must be 1 or more to be exported, got {config.get(count)}")


def candidates(
    head: nn.Module, most: int, scores: Tensor, deltas: Tensor, priors: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The surest pairs of anchor and class of a level: scores, classes, deltas and anchors of each.

    Args:
        head: mmdet's ``AnchorHead``.
        most: How many at most.
        scores: Of the level, ``(1, anchors * channels, H, W)``, before sigmoid or softmax.
        deltas: ``(1, anchors * 4, H, W)``.
        priors: Its anchors, ``(H * W * anchors, 4)``.
    """
    scores = scores[0].permute(1, 2, 0).reshape(-1, head.cls_out_channels)
    scores = scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[:, :-1]
    classes = scores.shape[1]
    scores = scores.flatten()
    scores, index = scores.topk(torch.sym_min(most, scores.shape[0]))
    anchor = index // classes
    deltas = deltas[0].permute(1, 2, 0).reshape(-1, 4)
    return scores, index % classes, deltas[anchor], priors[anchor]


def decode(boxes: Tensor, deltas: Tensor, coder: Any, height: int, width: int) -> Tensor:
    r"""Boxes moved and scaled by what a head predicts, and clipped to the image.

    With the centre :math:`c` and the size :math:`s` of a box and its denormalised deltas :math:`d_c, d_s`, the new ones
    are :math:`c + s\,d_c` and :math:`s\,e^{d_s}` (Girshick et al., *Rich feature hierarchies*, arXiv 1311.2524).

    Args:
        boxes: ``(n, 4)``, x0, y0, x1, y1.
        deltas: ``(n, 4)``.
        coder: mmdet's ``DeltaXYWHBBoxCoder``, which has means, standard deviations and limits.
        height: Of the image in pixels, maybe symbolic.
        width: Likewise.
    """
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    limit = abs(math.log(16 / 1000))
    size = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) * 0.5 + size * deltas[:, :2]
    half = size * deltas[:, 2:].clamp(-limit, limit).exp() * 0.5
    x0, y0 = (centre - half).unbind(1)
    x1, y1 = (centre + half).unbind(1)
    if coder.clip_border:
        x0, x1, y0, y1 = x0.clamp(0, width), x1.clamp(0, width), y0.clamp(0, height), y1.clamp(0, height)
    return torch.stack([x0, y0, x1, y1], 1)


def wide_enough(boxes: Tensor, config: Any) -> Tensor:
    """Which boxes are wider and higher than ``min_bbox_size``; all of them where it is negative."""
    least = (config or {}).get("min_bbox_size", -1)
    sides = boxes[:, 2:] - boxes[:, :2]
    return (sides > least).all(1) if least >= 0 else torch.ones_like(boxes[:, 0], dtype=torch.bool)


def suppressed(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, most: int) -> Tensor:
    """Indices of at most ``most`` boxes that non-maximum suppression inside each group keeps, the surest first."""
    # Groups are moved apart, as mmcv does it. The zero makes the largest of no boxes a number.
    apart = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).amax(0) + 1
    moved = boxes + groups.to(boxes)[:, None] * apart
    # Programs of torch.export take for granted that two boxes or more are kept: two far away, which come last, are.
    moved = torch.cat([moved, moved.new_tensor([[-2e6, 0, -1.9e6, 1e5], [-4e6, 0, -3.9e6, 1e5]])])
    kept = nms(moved, torch.cat([scores, scores.new_tensor([-1.0, -2.0])]), threshold)
    return kept[:-2][:most]
