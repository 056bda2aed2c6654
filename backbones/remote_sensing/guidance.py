"""Structure guidance: a map that is learned for each stage, added to the cells before their tokens are mixed.

RS-vHeat calls it heat capacity, or spatial correction. It is a variant of the token mixer, so any spectral network can
have it, whatever its operator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import register_notrace_module
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_ops import SpectralMixer, SpectralOperator
from spectral_ops.torch_internals import jit_tracing, refuse_tracing_into

__all__ = ["BilinearMap", "GuidedMixer", "resize_bilinear"]


def resize_bilinear(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Carry a map ``(H, W, C)`` over to another grid, bilinearly, ``align_corners=False``."""
    if not (torch.compiler.is_compiling() or jit_tracing()) and tuple(values.shape[:2]) == tuple(sizes):
        return values
    grid = values.permute(2, 0, 1).unsqueeze(0)
    return F.interpolate(grid, size=list(sizes), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)


class BilinearMap(nn.Module):
    """A learnable vector per cell, or per cosine mode, resized bilinearly to the grid it is asked for.

    Args:
        sizes: ``(H0, W0)`` it is stored at.
        channels: C.

    Example:
        >>> BilinearMap((7, 7), 32)((10, 16)).shape
        torch.Size([10, 16, 32])
    """

    def __init__(self, sizes: Sequence[int], channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*sizes, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors anew, with standard deviation 0.02."""
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, sizes: Sequence[int]) -> Tensor:
        refuse_tracing_into(self, sizes)
        weight = self.weight if self.weight.dtype == torch.float64 else self.weight.float()
        return resize_bilinear(weight, sizes)

    def extra_repr(self) -> str:
        height, width, channels = self.weight.shape
        return f"sizes=({height}, {width}), channels={channels}"


class GuidedMixer(SpectralMixer):
    r"""A :class:`~spectral_ops.SpectralMixer` of cells that a learned map guides, RS-vHeat's heat capacity.

    .. math::  y = \mathrm{Mixer}\big(\mathrm{LN}(\mathrm{ReLU}(x + E_c))\big)

    :math:`E_c`, ``(H, W, C)``, is shared by the blocks of a stage. What it guides comes before the operator, so gains
    are precomputed exactly, and it stays where the physics is dropped.

    Args:
        channels: C.
        operator: Any spectral operator over ``dims=(1, 2)``.
        kernel_size, norm_eps: As in :class:`~spectral_ops.SpectralMixer`.

    Example:
        >>> from backbones import SpectralNet, spectral_blocks
        >>> from spectral_ops import Wave
        >>> block = spectral_blocks(lambda c: Wave(1.0, 2.0, dims=(1, 2)), mixer=GuidedMixer)
        >>> net = SpectralNet(block=block, maps={"guide": BilinearMap}, dims=(8, 16), depths=(1, 1), num_classes=0)
        >>> net.stages[0].guide, net(torch.randn(1, 3, 64, 48)).shape
        (BilinearMap(sizes=(56, 56), channels=8), torch.Size([1, 16]))
    """

    def __init__(
        self, channels: int, operator: SpectralOperator, *, kernel_size: int = 3, norm_eps: float = 1e-5
    ) -> None:
        super().__init__(channels, operator, kernel_size=kernel_size, norm_eps=norm_eps)
        self.norm_in = nn.LayerNorm(channels, eps=1e-5)

    def shares(self, sizes: Sequence[int] | None = None) -> tuple[str, ...]:
        """The maps of the operator, and ``"guide"``."""
        return (*super().shares(sizes), "guide")

    def forward(
        self, x: Tensor, embedding: Tensor | None = None, *, guide: Tensor, visible: Tensor | None = None
    ) -> Tensor:
        """Mix the cells of a map, see :meth:`spectral_ops.SpectralMixer.forward`.

        Args:
            x: ``(B, H, W, C)``.
            embedding: Of the operator.
            guide: ``(H, W, C)``.
            visible: Bool, ``(B, H, W, 1)``.
        """
        return super().forward(self.norm_in(F.relu(x + guide.to(x.dtype))), embedding, visible=visible)


# They decide by the size of their input, so that torch.fx keeps them whole; timm's tracing knows these.
register_notrace_module(BilinearMap)
register_notrace_module(GuidedMixer)
