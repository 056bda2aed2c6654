"""A segmentor of mmseg from pixels to the scores of its classes at every pixel."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from backbones.openmmlab.export.dynamic import with_dynamic_sizes
from backbones.openmmlab.export.pixels import Pixels

__all__ = ["ExportableSegmentor"]


class ExportableSegmentor(nn.Module):
    """``EncoderDecoder`` for one image of any size, whatever its ``test_cfg`` says of windows.

    Args:
        model: The segmentor; it is copied.

    Raises:
        ValueError: The segmentor or its head predicts in another way than those that are restated here.
    """

    outputs = ("scores",)

    def __init__(self, model: nn.Module) -> None:
        from mmseg.models.decode_heads.decode_head import BaseDecodeHead
        from mmseg.models.segmentors import EncoderDecoder

        super().__init__()
        head = model.decode_head
        own = isinstance(head, BaseDecodeHead) and all(
            getattr(type(head), name) is getattr(BaseDecodeHead, name) for name in ("predict", "predict_by_feat")
        )
        if type(model) is not EncoderDecoder or not own:
            raise ValueError(
                f"{type(model).__name__} with {type(head).__name__} cannot be exported: what works is EncoderDecoder "
                "with a head that gives scores at every pixel, such as UPerHead, FPNHead, PSPHead or FCNHead"
            )
        self.pixels = Pixels(model.data_preprocessor)
        self.model = with_dynamic_sizes(model)
        self.model.auxiliary_head = None  # for training alone

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """Pixels ``(1, 3, H, W)`` to scores ``(1, classes, H, W)``, before softmax."""
        height, width = image.shape[-2:]
        x = self.pixels(image)
        head = self.model.decode_head
        scores = head(self.model.extract_feat(x))
        scores = F.interpolate(scores, x.shape[-2:], mode="bilinear", align_corners=head.align_corners)
        return (scores[..., :height, :width],)
