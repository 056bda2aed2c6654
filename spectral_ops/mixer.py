"""A token-mixing layer around any spectral operator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_ops._memory import lean
from spectral_ops.linear import ChannelLinear
from spectral_ops.operator import SpectralOperator
from spectral_ops.scripting import TracedOperator, with_modules

__all__ = ["SpectralMixer"]


def _gated(y: Tensor, z: Tensor) -> Tensor:
    return lean(y.mul, F.silu(z), F.silu, z)


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
        self.value = ChannelLinear(channels, channels)
        self.gate = ChannelLinear(channels, channels)
        self.operator = operator
        self.norm = nn.LayerNorm(channels, eps=norm_eps)
        self.proj = ChannelLinear(channels, channels)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        x = self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y, z = self.norm(self.operator(self.value(x), embedding=embedding)), self.gate(x)
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            gated = _gated(y, z)
            kept = y.requires_grad and z.requires_grad  # by the product in any case
            return lean(self.proj, gated, _gated, y, z) if kept else self.proj(gated)
        return self.proj(y * F.silu(z))  # type: ignore[no-any-return]

    def __prepare_scriptable__(self) -> nn.Module:
        """What ``torch.jit.script`` compiles: this layer, its operator traced."""
        return with_modules(self, operator=TracedOperator(self.operator, like=self.value.weight[0]))
