"""The layers of HiViT: patches, blocks and merges that work inside one unit, and the attention between units.

A *unit* is 16 x 16 px, held as 4 x 4 sub-patches, then 2 x 2, then as one token: ``(B, N, p, p, C)``. N units in any
order and of any choice give the same numbers up to the last stage, since nothing there mixes two of them.
"""

from __future__ import annotations

from functools import partial

import torch
from einops import rearrange
from timm.layers import DropPath, LayerScale, Mlp, SwiGLU
from torch import Tensor, fx, nn
from torch.nn import functional as F

from backbones.hivit.positions import RelativeBias

__all__ = [
    "UNIT",
    "Attention",
    "AttentionBlock",
    "ConvMerge",
    "Merge",
    "MlpBlock",
    "PatchEmbed",
    "Split",
    "cells",
    "padded",
    "unit_map",
]

#: Pixels along the side of a unit, and of a sub-patch.
UNIT, PATCH = 16, 4
#: Sub-patches along the side of a unit.
SIDE = UNIT // PATCH

fx.wrap("rearrange")


def cells(pixels: int, stride: int) -> int:
    """How many cells of a stride cover so many pixels."""
    return (pixels + stride - 1) // stride


@fx.wrap
def padded(images: Tensor, in_chans: int) -> Tensor:
    """The images with zeros at the bottom and at the right up to whole units. One node of a torch.fx graph.

    Raises:
        ValueError: They are no images with so many channels.
    """
    if images.ndim != 4 or images.shape[1] != in_chans:
        raise ValueError(f"images must have shape (B, {in_chans}, H, W), got {tuple(images.shape)}")
    height, width = images.shape[2], images.shape[3]
    return F.pad(images, (0, cells(width, UNIT) * UNIT - width, 0, cells(height, UNIT) * UNIT - height))


@fx.wrap
def unit_map(units: Tensor, images: Tensor) -> Tensor:
    """Units ``(B, N, p, p, C)``, all of the images', as a map ``(B, H, W, C)`` without what was padded."""
    height, width = images.shape[2], images.shape[3]
    stride = UNIT // units.shape[2]
    x = rearrange(units, "b (h w) p q c -> b (h p) (w q) c", h=cells(height, UNIT), w=cells(width, UNIT))
    if stride == UNIT:
        return x
    rows, columns = cells(height, stride), cells(width, stride)
    if torch.compiler.is_compiling():  # a copy: the strides of a view would tie the graph to its size
        return F.pad(x, (0, 0, 0, columns - x.shape[2], 0, rows - x.shape[1]))
    return x[:, :rows, :columns]


class PatchEmbed(nn.Module):
    """Images to units: a 4 x 4 convolution of stride 4, and a LayerNorm over channels.

    Args:
        in_chans: Channels of the images.
        channels: C.
        norm: None for no norm, else the norm's class.

    Shape:
        ``(B, in_chans, H, W) -> (B, units, 4, 4, C)``, units row by row; images are padded to whole units.
    """

    def __init__(self, in_chans: int, channels: int, norm: type[nn.Module] | partial[nn.Module] | None) -> None:
        super().__init__()
        self.in_chans = in_chans
        self.conv = nn.Conv2d(in_chans, channels, PATCH, stride=PATCH)
        self.norm = nn.Identity() if norm is None else norm(channels)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(padded(images, self.in_chans))
        return self.norm(rearrange(x, "b c (h p) (w q) -> b (h w) p q c", p=SIDE, q=SIDE))


class Merge(nn.Module):
    """Halve the sides of a unit: 2 x 2 neighbours side by side, norm, linear layer without bias to twice the width.

    The neighbours stand in the order (0, 0), (1, 0), (0, 1), (1, 1) of row and column.

    Shape:
        ``(B, N, p, p, C) -> (B, N, p/2, p/2, 2C)``
    """

    def __init__(self, channels: int, norm: type[nn.Module] | partial[nn.Module]) -> None:
        super().__init__()
        self.norm = norm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(rearrange(x, "b n (p i) (q j) c -> b n p q (j i c)", i=2, j=2)))


class ConvMerge(nn.Module):
    """The same in Fast-iTPN: norm, then a 2 x 2 convolution of stride 2 with bias.

    The convolution is held as the linear layer that it is on a unit, its inputs in the order (channel, row, column).
    """

    def __init__(self, channels: int, norm: type[nn.Module] | partial[nn.Module]) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(rearrange(self.norm(x), "b n (p i) (q j) c -> b n p q (c i j)", i=2, j=2))


class Split(nn.Module):
    """Double the sides of a unit: norm, linear layer without bias, and every cell becomes 2 x 2.

    The outputs are those of (0, 0), (0, 1), (1, 0), (1, 1), row by row: not the order of :class:`Merge`.

    Shape:
        ``(B, N, p, p, C) -> (B, N, 2p, 2p, out)``
    """

    def __init__(self, channels: int, out_channels: int, norm: type[nn.Module] | partial[nn.Module]) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.reduction = nn.Linear(channels, 4 * out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(self.reduction(self.norm(x)), "b n p q (i j c) -> b n (p i) (q j) c", i=2, j=2)


class MlpBlock(nn.Module):
    r"""A block that works on each cell alone: :math:`x + \mathrm{DP}(\mathrm{MLP}(\mathrm{LN}\,x))`.

    Args:
        channels: C.
        ratio: Hidden width over C.
        norm: The norm's class.
        drop_path: Probability of dropping the branch for a sample in training.
        sub_norm: A norm on the hidden of the MLP, too.
    """

    def __init__(
        self,
        channels: int,
        ratio: float,
        norm: type[nn.Module] | partial[nn.Module],
        drop_path: float = 0.0,
        sub_norm: bool = False,
    ) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.mlp = Mlp(channels, int(channels * ratio), norm_layer=norm if sub_norm else None)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp(self.norm(x)))


class Attention(nn.Module):
    """Multi-head self-attention between tokens, its softmax in float32 at least.

    Args:
        channels: C.
        heads: Must divide C.
        separate: Three layers for queries, keys and values, keys without bias, as in EVA-02; else one with bias.

    Shape:
        ``(B, N, C) -> (B, N, C)``, with a bias ``(heads, N, N)`` or ``(B, heads, N, N)`` or None.
    """

    def __init__(self, channels: int, heads: int, separate: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.separate = separate
        if separate:
            self.q = nn.Linear(channels, channels)
            self.k = nn.Linear(channels, channels, bias=False)
            self.v = nn.Linear(channels, channels)
        else:
            self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        if self.separate:
            q, k, v = (rearrange(layer(x), "b n (h d) -> b h n d", h=self.heads) for layer in (self.q, self.k, self.v))
        else:
            q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype))
        return self.proj(rearrange(x, "b h n d -> b n (h d)"))


class AttentionBlock(nn.Module):
    r"""A transformer block, pre-norm: attention, then MLP, each
    :math:`x + \mathrm{DP}(\gamma \odot f(\mathrm{LN}\,x))`.

    Args:
        channels: C.
        heads: Of the attention.
        norm: The norm's class.
        bias_sizes: Grid ``(H, W)`` that biases by relative position are stored for; None for no biases.
        drop_path: Probability of dropping a branch for a sample in training.
        eva: EVA-02's form: queries, keys and values by layers of their own, SwiGLU with a norm on its hidden of 3C, and
            layer scale, which starts at 0.1. Else one layer for the three, and an MLP with GELU and a hidden of 4C.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        norm: type[nn.Module] | partial[nn.Module],
        *,
        bias_sizes: tuple[int, int] | None = None,
        drop_path: float = 0.0,
        eva: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attn = Attention(channels, heads, separate=eva)
        self.bias = None if bias_sizes is None else RelativeBias(bias_sizes, heads)
        self.scale1 = LayerScale(channels, 0.1) if eva else nn.Identity()
        self.norm2 = norm(channels)
        self.mlp = SwiGLU(channels, 3 * channels, norm_layer=norm) if eva else Mlp(channels, 4 * channels)
        self.scale2 = LayerScale(channels, 0.1) if eva else nn.Identity()
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, grid: tuple[int, int], keep: Tensor | None = None) -> Tensor:
        """Tokens after both branches.

        Args:
            x: Tokens ``(B, K, C)``.
            grid: ``(H, W)`` that they are of.
            keep: Which of its H * W places they stand at, int ``(B, K)``; None for all, row by row.
        """
        bias = None if self.bias is None else self.bias(grid[0], grid[1])
        if bias is not None and keep is not None:
            bias = chosen(bias, keep)
        x = x + self.drop_path(self.scale1(self.attn(self.norm1(x), bias)))
        return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))


def chosen(bias: Tensor, keep: Tensor) -> Tensor:
    """Of biases ``(heads, N, N)``, those between the places that each sample keeps: ``(B, heads, K, K)``."""
    return bias[:, keep[:, :, None], keep[:, None, :]].transpose(0, 1)
