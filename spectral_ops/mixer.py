"""A token-mixing layer around any spectral operator."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_ops.linear import call
from spectral_ops.operator import SpectralOperator
from spectral_ops.precomputed import Precomputed
from spectral_ops.recompute import linear_behind
from spectral_ops.torch_internals import refuse_tracing_into

__all__ = ["SpectralMixer", "shown"]


def shown(x: Tensor, visible: Tensor | None) -> Tensor:
    """A map with zeros where cells are not ``visible``, or as it is where no mask is given.

    By a product, five times as fast as a choice on a CPU: what is hidden must be finite.
    """
    return x if visible is None else x * visible.to(x.dtype)


def _visible_mean(x: Tensor, visible: Tensor) -> Tensor:
    """The mean ``(B, C)`` over the visible cells of a map that is zero elsewhere."""
    total = x.sum((1, 2), dtype=torch.promote_types(x.dtype, torch.float32))  # half precision would overflow
    return (total / visible.sum((1, 2)).clamp(min=1)).to(x.dtype)


def _gated(y: Tensor, z: Tensor) -> Tensor:
    return y * F.silu(z)


class SpectralMixer(nn.Module):
    r"""Depthwise convolution, value and gate, spectral operator, norm, gate, projection.

    .. math::  y = W_o\,\big(\mathrm{LN}(\mathcal{A}(W_v\,\mathrm{dw}(x))) \odot \mathrm{SiLU}(W_z\,\mathrm{dw}(x))\big)

    With :class:`~spectral_ops.heat.Heat` as the operator this is vHeat's heat conduction operator.

    Args:
        channels: C.
        operator: Any spectral operator over ``dims=(1, 2)``.
        kernel_size: Of the depthwise convolution, odd.
        norm_eps: Epsilon of the LayerNorm.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, channels-last throughout and without copies: the convolution sees a
        channels-last view, and value and gate are separate linears so that each is contiguous.

    Example:
        >>> import torch
        >>> from spectral_ops import Heat
        >>> mixer = SpectralMixer(32, Heat(diffusivity=0.5, dims=(1, 2)))
        >>> mixer(torch.randn(2, 14, 20, 32)).shape
        torch.Size([2, 14, 20, 32])
    """

    def __init__(
        self, channels: int, operator: SpectralOperator, *, kernel_size: int = 3, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        if not isinstance(operator, SpectralOperator):
            raise TypeError(f"operator must be a SpectralOperator, got {type(operator).__name__}")
        if operator.dims != (1, 2):
            raise ValueError(f"operator must act on dims=(1, 2), the channels-last layout, got dims={operator.dims}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        self.dwconv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.value = nn.Linear(channels, channels)
        self.gate = nn.Linear(channels, channels)
        self.operator = operator
        self.norm = nn.LayerNorm(channels, eps=norm_eps)
        self.proj = nn.Linear(channels, channels)

    def shares(self, sizes: Sequence[int] | None = None) -> tuple[str, ...]:
        """Which of the learned maps that the layers of a stage share this one takes by keyword.

        Args:
            sizes: The grid of a call: the answer is then what it may take there, at no cost, and nothing where a gain
                is stored. None asks for what it needs on any grid.
        """
        if sizes is None:
            return ("embedding",) if self.operator.embedding_conditioned else ()
        return () if isinstance(self.operator, Precomputed) and self.operator.covers(sizes) else ("embedding",)

    def forward(self, x: Tensor, embedding: Tensor | None = None, *, visible: Tensor | None = None) -> Tensor:
        """Mix the cells of a map.

        Args:
            x: ``(B, H, W, C)``.
            embedding: Spectral embedding ``(H, W, C)`` for operators whose quantities are predicted from one.
            visible: Bool, ``(B, H, W, 1)``. Cells where it is False are empty: nothing of them reaches another cell.
        """
        refuse_tracing_into(self, x)
        x = self.dwconv(shown(x, visible).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        value = shown(call(self.value, x), visible)  # its bias would reach every cell through the operator
        pooled = None if visible is None else functools.partial(_visible_mean, value, visible)
        mixed = self.norm(self.operator(value, embedding=embedding, pooled=pooled))
        return linear_behind(self.proj, _gated, mixed, call(self.gate, x))
