"""The layers of the hierarchical network: stem, downsampling, block. Channels-last maps in and out."""

from __future__ import annotations

from typing import Literal

import torch
from timm.layers import DropPath, LayerScale
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

from spectral_ops import ChannelLinear, SpectralMixer, SpectralOperator
from spectral_ops._memory import lean

__all__ = [
    "NORM_PLACEMENTS",
    "Downsample",
    "Mlp",
    "NormPlacement",
    "SpectralBlock",
    "Stem",
    "halved",
    "hooked",
    "plain_gelu",
]

NormPlacement = Literal["pre", "post"]
NORM_PLACEMENTS: tuple[NormPlacement, ...] = ("pre", "post")


def halved(size: int) -> int:
    """The size after a 3x3 convolution of stride 2 and padding 1."""
    return (size + 1) // 2


class Stem(nn.Module):
    """Two strided convolutions, ``(B, in_chans, H, W) -> (B, H/4, W/4, C)``: the map of the first stage."""

    def __init__(self, in_chans: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, channels // 2, 3, stride=2, padding=1)
        self.norm1 = nn.LayerNorm(channels // 2, eps=1e-6)
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        # The only change of layout in the network; the convolutions keep channels-last from here on.
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.act(self.norm1(self.conv1(x).permute(0, 2, 3, 1)))
        return self.norm2(self.conv2(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class Downsample(nn.Module):
    """Strided convolution and norm between stages, ``(B, H, W, C) -> (B, H/2, W/2, C')``."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


def hooked(module: nn.Module) -> bool:
    """Whether hooks have a hand in what a module returns."""
    own = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(own) or _has_any_global_hook()


def plain_gelu(act: nn.Module) -> bool:
    """Whether an activation is the exact GELU and nothing else."""
    return type(act) is nn.GELU and act.approximate == "none" and not hooked(act)


class Mlp(nn.Module):
    """Two linears with a GELU between, on channels-last maps."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = ChannelLinear(channels, hidden)
        self.act = nn.GELU()
        self.fc2 = ChannelLinear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            a = self.act(x)
            return lean(self.fc2, a, F.gelu, x) if plain_gelu(self.act) else self.fc2(a)
        return self.fc2(self.act(x))


class SpectralBlock(nn.Module):
    r"""A residual pair: spectral mixer, then MLP.

    ``norm_placement="pre"``: :math:`x \leftarrow x + f(\mathrm{LN}\,x)`; ``"post"``:
    :math:`x \leftarrow x + \gamma \odot \mathrm{LN}(f(x))`, both with drop path on the branch.

    Args:
        channels: C.
        operator: The spectral operator of the mixer, over ``dims=(1, 2)``.
        mlp_ratio: Hidden width of the MLP over C.
        norm_placement: ``"pre"`` or ``"post"``.
        layer_scale: Initial value of the learnable per-channel scale of each branch; None for no scale.
        drop_path: Probability of dropping a branch for a sample in training.

    Example:
        >>> from spectral_ops import Heat
        >>> block = SpectralBlock(32, Heat(diffusivity=0.5, dims=(1, 2)))
        >>> block(torch.randn(2, 14, 20, 32)).shape
        torch.Size([2, 14, 20, 32])
    """

    def __init__(
        self,
        channels: int,
        operator: SpectralOperator,
        *,
        mlp_ratio: float = 4.0,
        norm_placement: NormPlacement = "pre",
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if norm_placement not in NORM_PLACEMENTS:
            raise ValueError(f"norm_placement must be one of {NORM_PLACEMENTS}, got {norm_placement!r}")
        self.pre_norm = norm_placement == "pre"
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.mixer = SpectralMixer(channels, operator)
        self.scale1 = LayerScale(channels, layer_scale) if layer_scale is not None else nn.Identity()
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, int(channels * mlp_ratio))
        self.scale2 = LayerScale(channels, layer_scale) if layer_scale is not None else nn.Identity()
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        if self.pre_norm:
            x = x + self.drop_path(self.scale1(self.mixer(self.norm1(x), embedding)))
            return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))
        x = x + self.drop_path(self.scale1(self.norm1(self.mixer(x, embedding))))
        return x + self.drop_path(self.scale2(self.norm2(self.mlp(x))))
