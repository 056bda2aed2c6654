"""Any hierarchical network of timm as a backbone of OpenMMLab, for comparisons and for adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
from mmengine.registry import MODELS
from torch import Tensor, nn

__all__ = ["TimmBackbone"]


@MODELS.register_module()
class TimmBackbone(nn.Module):
    """A timm model that returns the maps of several stages, contiguous and channels-first, as necks expect them.

    mmseg's ``TIMMBackbone`` hands timm's maps on as they are, some channels-last; mmcv's RoIAlign misreads those.

    Args:
        model_name: A model of timm with ``features_only``.
        out_indices: Which of its maps to return.
        options: Further arguments of ``timm.create_model``, such as ``dict(drop_path_rate=0.1, img_size=512)``. Weights
            too: ``dict(pretrained=True)``, with ``pretrained_cfg_overlay=dict(file=PATH)`` for a file of one's own.

    Attributes:
        channels: Of each map returned.

    Raises:
        RuntimeError: The model is unknown, has no maps to return, or its weights do not fit.

    Example:
        >>> import torch
        >>> net = MODELS.build(dict(type="TimmBackbone", model_name="resnet10t", out_indices=(1, 2, 3, 4)))
        >>> [tuple(f.shape) for f in net(torch.randn(1, 3, 64, 64))], net.channels
        ([(1, 64, 16, 16), (1, 128, 8, 8), (1, 256, 4, 4), (1, 512, 2, 2)], [64, 128, 256, 512])
    """

    def __init__(
        self,
        model_name: str,
        *,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.net = timm.create_model(model_name, features_only=True, out_indices=tuple(out_indices), **(options or {}))
        self.channels: list[int] = self.net.feature_info.channels()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = self.net(x)
        last = str(getattr(self.net, "output_fmt", "NCHW")).rpartition(".")[2] == "NHWC"
        return tuple((m.permute(0, 3, 1, 2) if last else m).contiguous() for m in maps)
