"""RetinaNet of mmdet from pixels to boxes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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

__all__ = ["ExportableRetinaNet"]


class ExportableRetinaNet(nn.Module):
    """``RetinaNet`` for one image of any size, with the thresholds of its ``test_cfg``.

    Args:
        model: The detector; it is copied.

    Raises:
        ValueError: The detector is another, or a part of it works otherwise than what is restated here.
    """

    outputs = ("boxes", "scores", "labels")

    def __init__(self, model: nn.Module) -> None:
        from mmdet.models.dense_heads import RetinaHead
        from mmdet.models.task_modules.prior_generators import AnchorGenerator

        super().__init__()
        head = model.bbox_head
        if type(head) is not RetinaHead or type(head.prior_generator) is not AnchorGenerator:
            raise ValueError(f"the head must be a RetinaHead with an AnchorGenerator, got {type(head).__name__}")
        check_boxes(head)
        check_suppression(head.test_cfg, "test_cfg")
        self.pixels = Pixels(model.data_preprocessor)
        self.model = with_dynamic_sizes(model)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels ``(1, 3, H, W)`` to boxes ``(n, 4)`` in pixels, scores ``(n,)`` and labels ``(n,)``, surest first."""
        height, width = image.shape[-2:]
        head, config = self.model.bbox_head, self.model.bbox_head.test_cfg
        maps = head(self.model.extract_feat(self.pixels(image)))
        priors = head.prior_generator.grid_priors([m.shape[-2:] for m in maps[0]], device=image.device)
        levels = [candidates(head, config.nms_pre, *level) for level in zip(*maps, priors, strict=True)]
        scores, labels, deltas, anchors = (torch.cat(parts) for parts in zip(*levels, strict=True))
        boxes = decode(anchors, deltas, head.bbox_coder, height, width)
        chosen = (scores > config.get("score_thr", 0)) & wide_enough(boxes, config)
        boxes, scores, labels = boxes[chosen], scores[chosen], labels[chosen]
        kept = suppressed(boxes, scores, labels, config.nms.iou_threshold, config.max_per_img)
        return boxes[kept], scores[kept], labels[kept]
