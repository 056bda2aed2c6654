"""From the pixels that a loader gives to what a network takes, as a part of its graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Pixels"]


class Pixels(nn.Module):
    """The framework's data preprocessor for one image: channels reordered, normalised, and padded below and right.

    Args:
        preprocessor: mmdet's ``DetDataPreprocessor`` or mmseg's ``SegDataPreProcessor``.

    Attributes:
        divisor: Height and width are padded to its multiples.

    Raises:
        ValueError: The preprocessor pads images to a size of its own, which would not depend on theirs.

    Example:
        >>> from mmengine.model import ImgDataPreprocessor
        >>> pixels = Pixels(ImgDataPreprocessor(mean=[100.0], std=[50.0], pad_size_divisor=32))
        >>> pixels(torch.full((1, 3, 40, 33), 200, dtype=torch.uint8)).shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(self, preprocessor: nn.Module) -> None:
        super().__init__()
        of_mmseg = hasattr(preprocessor, "test_cfg")
        test_cfg = (preprocessor.test_cfg or {}) if of_mmseg else {"size_divisor": preprocessor.pad_size_divisor}
        if test_cfg.get("size") is not None:
            raise ValueError(
                "data_preprocessor.test_cfg.size pads to a fixed size, which cannot be exported: use size_divisor"
            )
        self.divisor = int(test_cfg.get("size_divisor") or 1)
        self.fill = float(preprocessor.pad_val if of_mmseg else preprocessor.pad_value)
        self.reorder = bool(preprocessor._channel_conversion)
        normalise = preprocessor._enable_normalize
        self.register_buffer("mean", preprocessor.mean.clone() if normalise else torch.zeros(1, 1, 1), False)
        self.register_buffer("std", preprocessor.std.clone() if normalise else torch.ones(1, 1, 1), False)

    def forward(self, image: Tensor) -> Tensor:
        """``(1, 3, H, W)`` of 0 to 255 to ``(1, 3, H', W')``, normalised."""
        image = image.float()
        if self.reorder:
            image = image.flip(1)
        image = (image - self.mean) / self.std
        if self.divisor == 1:
            return image
        height, width = image.shape[-2:]
        return F.pad(image, (0, -width % self.divisor, 0, -height % self.divisor), value=self.fill)
