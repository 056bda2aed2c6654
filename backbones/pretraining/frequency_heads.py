"""From views of an image back to the image: their maps are fused by stage, and pixels come from the last two stages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.pretraining.hiding import SLOTS
from backbones.pretraining.students import Level

__all__ = ["ImageHead", "ViewFusion"]


class ViewFusion(nn.Module):
    """One map of the two views of an image, by a 1 x 1 convolution of their channels, 2C to C.

    Where a view is not encoded a learned token stands in every cell of it.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.empty(SLOTS, channels))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.linear = nn.Linear(SLOTS * channels, channels)

    def forward(self, maps: Tensor, encoded: Tensor) -> Tensor:
        """Fuse.

        Args:
            maps: Those of the encoded views, ``(N, H, W, C)``, image by image.
            encoded: Which they are, bool, ``(B, 2)``.

        Returns:
            ``(B, H, W, C)``.
        """
        height, width, channels = maps.shape[1:]
        every = self.mask_token.to(maps.dtype)[None, :, None, None].expand(*encoded.shape, height, width, channels)
        every = every.clone()
        every[encoded] = maps
        return self.linear(every.permute(0, 2, 3, 1, 4).flatten(3))


class ImageHead(nn.Module):
    r"""Pixels of a modality from the maps of strides 16 and 32.

    .. math::

        y = \mathrm{shuffle}_{16}\big(\mathrm{Conv}_{1}\,\mathrm{Conv}_{3}(F_3 + \mathrm{up}(\mathrm{Conv}_1 F_4))\big)

    It starts at 0, the mean image: from random pixels a network learns first to say nothing of its images, by an offset
    that drowns their features.

    Args:
        levels: The two maps.
        bands: Of the images.
    """

    def __init__(self, levels: Sequence[Level], bands: int) -> None:
        super().__init__()
        third, fourth = levels
        self.lateral = nn.Conv2d(fourth.channels, third.channels, 1)
        self.mix = nn.Conv2d(third.channels, third.channels, 3, padding=1)
        self.pixels = nn.Conv2d(third.channels, bands * third.stride**2, 1)
        nn.init.zeros_(self.pixels.weight)
        nn.init.zeros_(self.pixels.bias)
        self.stride = third.stride

    def forward(self, third: Tensor, fourth: Tensor, size: Sequence[int]) -> Tensor:
        """Images ``(B, bands, H, W)`` from channels-last maps.

        Args:
            third, fourth: ``(B, H', W', C)`` each.
            size: ``(H, W)``; what the maps have more is cut off.
        """
        x = third.permute(0, 3, 1, 2)
        up = F.interpolate(self.lateral(fourth.permute(0, 3, 1, 2)), x.shape[2:], mode="bilinear", align_corners=False)
        x = F.pixel_shuffle(self.pixels(self.mix(x + up)), self.stride)
        return x[..., : size[0], : size[1]]
