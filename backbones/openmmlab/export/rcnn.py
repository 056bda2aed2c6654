"""Faster R-CNN and Mask R-CNN of mmdet from pixels to boxes and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from backbones.openmmlab.export.boxes import (
    candidates,
    check_boxes,
    check_suppression,
    decode,
    suppressed,
    wide_enough,
)
from backbones.openmmlab.export.dynamic import with_dynamic_sizes
from backbones.openmmlab.export.pixels import Pixels

__all__ = ["ExportableRCNN"]


class ExportableRCNN(nn.Module):
    """``FasterRCNN`` or ``MaskRCNN`` for one image of any size, with the thresholds of its ``test_cfg``.

    Args:
        model: The detector; it is copied.

    Raises:
        ValueError: The detector is another, or a part of it works otherwise than what is restated here.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        _check(model)
        self.pixels = Pixels(model.data_preprocessor)
        self.model = with_dynamic_sizes(model)
        self.outputs = ("boxes", "scores", "labels", *(("masks",) if model.roi_head.with_mask else ()))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Pixels ``(1, 3, H, W)`` to boxes ``(n, 4)`` in pixels, scores ``(n,)`` and labels ``(n,)``, surest first.

        With a mask head also masks ``(n, h, w)``, the probability of the object in the cells of its box.
        """
        height, width = image.shape[-2:]
        head = self.model.roi_head
        maps = self.model.extract_feat(self.pixels(image))
        boxes, scores, labels = self._classify(maps, self._proposals(maps, height, width), height, width)
        kept = suppressed(boxes, scores, labels, head.test_cfg.nms.iou_threshold, head.test_cfg.max_per_img)
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        if not head.with_mask:
            return boxes, scores, labels
        masks = head.mask_head(_regions(head.mask_roi_extractor, maps, _with_one_more(boxes)))[:-1].sigmoid()
        index = torch.zeros_like(labels) if head.mask_head.class_agnostic else labels
        return boxes, scores, labels, masks[torch.arange(masks.shape[0], device=masks.device), index]

    def _proposals(self, maps: Sequence[Tensor], height: int, width: int) -> Tensor:
        """What the first stage takes for objects: boxes ``(n, 4)``."""
        head, config = self.model.rpn_head, self.model.rpn_head.test_cfg
        found = head(maps)
        priors = head.prior_generator.grid_priors([m.shape[-2:] for m in found[0]], device=maps[0].device)
        parts = []
        for level, (scores, deltas, anchors) in enumerate(zip(*found, priors, strict=True)):
            scores, labels, deltas, anchors = candidates(head, config.nms_pre, scores, deltas, anchors)
            parts.append((scores, deltas, anchors, torch.full_like(labels, level)))
        scores, deltas, anchors, levels = (torch.cat(part) for part in zip(*parts, strict=True))
        boxes = decode(anchors, deltas, head.bbox_coder, height, width)
        chosen = wide_enough(boxes, config)
        boxes, scores, levels = boxes[chosen], scores[chosen], levels[chosen]
        return boxes[suppressed(boxes, scores, levels, config.nms.iou_threshold, config.max_per_img)]

    def _classify(
        self, maps: Sequence[Tensor], proposals: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels of all pairs of proposal and class above the threshold."""
        roi_head, head = self.model.roi_head, self.model.roi_head.bbox_head
        scores, deltas = head(_regions(roi_head.bbox_roi_extractor, maps, _with_one_more(proposals)))
        scores, deltas = scores[:-1].softmax(-1)[:, :-1], deltas[:-1]
        classes = head.num_classes
        anchors = proposals[:, None].expand(-1, classes, 4).reshape(-1, 4)
        if head.reg_class_agnostic:
            deltas = deltas[:, None].expand(-1, classes, 4)
        boxes = decode(anchors, deltas.reshape(-1, 4), head.bbox_coder, height, width)
        labels = torch.arange(classes, device=scores.device).expand_as(scores).reshape(-1)
        scores = scores.reshape(-1)
        chosen = scores > roi_head.test_cfg.score_thr
        return boxes[chosen], scores[chosen], labels[chosen]


def _with_one_more(boxes: Tensor) -> Tensor:
    """Boxes and an empty one, so that a head has something to work on where nothing was found; its output is dropped.

    A tracer cannot know that a number found while running is not 0, and layers ask for it.
    """
    return torch.cat([boxes, boxes.new_zeros(1, 4)])


def _regions(extractor: Any, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Features of boxes ``(n, C, h, w)``, each from the map that its size belongs to."""
    boxes = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)  # of image 0
    levels = extractor.map_roi_levels(boxes, extractor.num_inputs)
    regions = boxes.new_zeros(boxes.shape[0], extractor.out_channels, *extractor.roi_layers[0].output_size)
    for i, (layer, features) in enumerate(zip(extractor.roi_layers, maps, strict=False)):
        here = (levels == i).nonzero()[:, 0]
        part = roi_align(
            features, boxes[here], layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned
        )
        regions = regions.index_put((here,), part)
    return regions


def _check(model: nn.Module) -> None:
    from mmcv.ops import RoIAlign
    from mmdet.models.dense_heads import RPNHead
    from mmdet.models.roi_heads import StandardRoIHead
    from mmdet.models.roi_heads.bbox_heads import BBoxHead
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
    from mmdet.models.task_modules.prior_generators import AnchorGenerator

    def need(fits: bool, part: Any, accepted: str) -> None:
        if not fits:
            raise ValueError(f"{type(part).__name__} cannot be exported: what works is {accepted}")

    roi_head, rpn = model.roi_head, model.rpn_head
    need(type(rpn) is RPNHead, rpn, "RPNHead")
    need(type(rpn.prior_generator) is AnchorGenerator, rpn.prior_generator, "AnchorGenerator")
    need(type(roi_head) is StandardRoIHead, roi_head, "StandardRoIHead")
    if roi_head.with_shared_head:
        raise ValueError("a roi_head with a shared_head cannot be exported")
    box_head = roi_head.bbox_head
    own = type(box_head)._predict_by_feat_single is BBoxHead._predict_by_feat_single
    need(own and box_head.with_reg, box_head, "a BBoxHead that predicts as mmdet's own, with boxes")
    extractors = [roi_head.bbox_roi_extractor]
    if roi_head.with_mask:
        need(type(roi_head.mask_head) is FCNMaskHead, roi_head.mask_head, "FCNMaskHead")
        extractors.append(roi_head.mask_roi_extractor)
    for extractor in extractors:
        need(type(extractor) is SingleRoIExtractor, extractor, "SingleRoIExtractor")
        for layer in extractor.roi_layers:
            need(type(layer) is RoIAlign and layer.pool_mode == "avg", layer, "RoIAlign that averages")
    for head in (rpn, box_head):
        check_boxes(head)
    check_suppression(rpn.test_cfg, "test_cfg.rpn")
    check_suppression(roi_head.test_cfg, "test_cfg.rcnn", ("max_per_img",))
