"""HiViT with the pyramid that is pre-trained with it: backbone and neck in one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops import rearrange
from torch import Tensor, fx

from backbones.hivit.layers import UNIT, cells, unit_map
from backbones.hivit.network import HiViT
from backbones.hivit.pyramid import Pyramid

__all__ = ["ITPN"]

fx.wrap("rearrange")
fx.wrap("unit_map")


class ITPN(HiViT):
    """A :class:`~backbones.hivit.HiViT` without classifier, and a :class:`~backbones.hivit.Pyramid` on its stages.

    Called with images it returns the three levels, channels-first.

    Args:
        embed_dim, depths, num_heads: Of the backbone.
        pyramid_dim: Width of the levels.
        pyramid_depth: Blocks of each level below the top.
        norm_eps: Of all LayerNorms, also the pyramid's.
        **options: Further arguments of the backbone.

    Attributes:
        full_rate: How the names of weights begin that layer-wise learning-rate decay leaves alone.

    Source:
        arXiv 2211.12735.

    Example:
        >>> import torch
        >>> net = ITPN(embed_dim=32, depths=(1, 1, 2), num_heads=2, pyramid_dim=8)
        >>> [tuple(level.shape) for level in net(torch.randn(1, 3, 50, 64))]
        [(1, 8, 13, 16), (1, 8, 7, 8), (1, 8, 4, 4)]
    """

    full_rate = ("pyramid.",)

    def __init__(
        self,
        *,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: int,
        pyramid_dim: int = 256,
        pyramid_depth: int = 1,
        norm_eps: float = 1e-6,
        **options: Any,
    ) -> None:
        super().__init__(
            embed_dim=embed_dim, depths=depths, num_heads=num_heads, norm_eps=norm_eps, num_classes=0, **options
        )
        self.prune_intermediate_layers([0, 1, 2])  # the classifier's norm goes
        self.pyramid = Pyramid(embed_dim, pyramid_dim, pyramid_depth, norm_eps=norm_eps)
        self.pyramid.to(device=self.stem.conv.weight.device, dtype=self.stem.conv.weight.dtype)
        self._init_linears()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(level.permute(0, 3, 1, 2).contiguous() for level in self.forward_levels(x)[0])

    def unit_levels(self, units: Tensor, grid: tuple[int, int], keep: Tensor | None = None) -> tuple[Tensor, ...]:
        """The levels of any choice of units.

        Args:
            units: ``(B, K, 4, 4, E/4)``, of :meth:`~backbones.hivit.HiViT.embed`.
            grid: ``(H, W)`` of units in the image.
            keep: The places that they stand at, int ``(B, K)``; None for all, row by row.

        Returns:
            ``(B, K, p, p, F)`` with p = 4, 2 and 1, of strides 4, 8 and 16.
        """
        first, second, tokens = self.local_stages(units)
        return self.pyramid(first, second, self.global_stage(tokens, grid, keep))

    def forward_levels(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The levels of images and, beside them, the maps of the stages; channels-last, strides 4, 8 and 16."""
        grid = cells(x.shape[2], UNIT), cells(x.shape[3], UNIT)
        first, second, tokens = self.local_stages(self.embed(x))
        last = rearrange(self.global_stage(tokens, grid), "b n c -> b n 1 1 c")
        levels = self.pyramid(first, second, last)
        return [unit_map(level, x) for level in levels], [unit_map(units, x) for units in (first, second, last)]
