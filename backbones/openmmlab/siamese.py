"""A backbone for pairs of images: one network sees both, and their maps are fused."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

__all__ = ["Siamese"]

Fuse = Literal["abs_diff", "concat"]


@MODELS.register_module()
class Siamese(nn.Module):
    r"""Change detection with any backbone: :math:`|F_i(a) - F_i(b)|`, or both maps, of each stage i.

    Both images pass the same network in one batch. ``EncoderDecoder`` of mmseg takes the fused maps as those of any
    backbone; :class:`LoadPair` loads the pairs. The absolute difference does not change when the dates are exchanged.

    Args:
        backbone: Config of any registered backbone that returns maps.
        fuse: ``"abs_diff"``, with the channels of the backbone's maps, or ``"concat"`` of the map before and that
            after, with twice as many.

    Shape:
        Pairs ``(B, 2 C, H, W)``, the image before and then that after, to a tuple of maps.

    Raises:
        ValueError: ``fuse`` is not known, or the number of channels is odd.

    Example:
        >>> backbone = dict(type="VHeat", arch="nano", img_size=64, out_indices=(1, 3))
        >>> net = MODELS.build(dict(type="Siamese", backbone=backbone, fuse="concat"))
        >>> [tuple(m.shape) for m in net(torch.randn(2, 6, 64, 64))]
        [(2, 128, 8, 8), (2, 512, 2, 2)]
    """

    def __init__(self, backbone: dict[str, Any], fuse: Fuse = "abs_diff") -> None:
        super().__init__()
        if fuse not in get_args(Fuse):
            raise ValueError(f"fuse must be one of {get_args(Fuse)}, got {fuse!r}")
        self.backbone = MODELS.build(backbone)
        self.fuse = fuse

    def init_weights(self) -> None:
        """Initialise the backbone, by its ``init_cfg`` where it has one."""
        if hasattr(self.backbone, "init_weights"):
            self.backbone.init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.ndim != 4 or x.shape[1] % 2:
            raise ValueError(f"pairs must have shape (B, 2 C, H, W), two images of C channels, got {tuple(x.shape)}")
        maps = self.backbone(torch.cat(x.chunk(2, 1)))
        pairs = [each.chunk(2) for each in maps]
        if self.fuse == "concat":
            return tuple(torch.cat(pair, 1) for pair in pairs)
        return tuple((before - after).abs() for before, after in pairs)

    def extra_repr(self) -> str:
        return f"fuse={self.fuse!r}"
