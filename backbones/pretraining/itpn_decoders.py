"""What stands behind iTPN's pyramid in pre-training: the decoder of pixels, and the predictors of features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from backbones.hivit.layers import AttentionBlock
from backbones.hivit.positions import resize_table, sine_cosine
from spectral_ops.scalars import as_int

__all__ = ["FeatureDecoder", "PixelDecoder", "UnitSum", "filled"]


def filled(seen: Tensor, token: Tensor, keep: Tensor, count: int) -> Tensor:
    """Kept units in their places, a token in all others.

    Args:
        seen: ``(B, K, ...)``.
        token: Of the last axis.
        keep: The places, ``(B, K)``.
        count: L, how many there are.

    Returns:
        ``(B, L, ...)`` in the dtype of ``seen``.

    Example:
        >>> filled(torch.tensor([[[1.0], [2.0]]]), torch.zeros(1), torch.tensor([[3, 0]]), 4).flatten()
        tensor([2., 0., 0., 1.])
    """
    every = token.to(seen.dtype).expand(len(seen), count, *seen.shape[2:])
    index = keep.reshape(*keep.shape, *[1] * (seen.ndim - 2)).expand_as(seen)
    return every.scatter(1, index, seen)


class _Embed(nn.Module):
    """A norm, then a linear layer."""

    def __init__(self, channels: int, out_channels: int, norm: type[nn.Module] | partial[nn.Module]) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.linear = nn.Linear(channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x))


class UnitSum(nn.ModuleList):
    """One vector for each unit from all levels: each embedded, its cells side by side, row by row, and summed.

    Args:
        channels: Width of the levels.
        dim: Width D of the vector; a cell of strides 4, 8 and 16 becomes D/16, D/4 and D wide.
        norm: The norm's class.

    Shape:
        Units ``(B, K, p, p, channels)``, p = 4, 2, 1, to ``(B, K, D)``.
    """

    def __init__(self, channels: int, dim: int, norm: type[nn.Module] | partial[nn.Module]) -> None:
        super().__init__(_Embed(channels, dim // p**2, norm) for p in (4, 2, 1))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        fine, middle, coarse = (embed(level).flatten(2) for embed, level in zip(self, levels, strict=True))
        return fine + middle + coarse


class PixelDecoder(nn.Module):
    r"""Predicts every unit from the levels of those that are kept.

    With :math:`e_l` the embedded levels, :math:`m` the mask token and :math:`p` a fixed table of positions, blocks of
    attention see

    .. math::  x_u = p_u + \begin{cases} \sum_l e_l(u) & u \text{ kept} \\ 3m & u \text{ hidden,} \end{cases}

    since each of the three levels has the token where nothing is known. A norm and a linear layer follow.

    Args:
        channels: Width of the levels.
        out_channels: Numbers that are predicted of a unit.
        grid: ``(H, W)`` in units that positions are stored for.
        dim: Width D, a multiple of 16.
        depth: Blocks.
        heads: Of the attention; must divide D.
        norm_eps: Of the LayerNorms.

    Raises:
        ValueError: An argument does not fit.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        grid: tuple[int, int],
        dim: int = 512,
        depth: int = 8,
        heads: int = 16,
        *,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        given = f"got {dim!r}, {depth!r} and {heads!r}"
        width, blocks, count = as_int(dim), as_int(depth), as_int(heads)
        if not width or width % 16 or width < 0 or blocks is None or blocks < 0:
            raise ValueError(f"decoder_dim must be a multiple of 16 and decoder_depth an int of at least 0, {given}")
        if not count or count < 0 or width % count:
            raise ValueError(f"decoder_heads must divide decoder_dim, {given}")
        norm = partial(nn.LayerNorm, eps=norm_eps)
        self.grid = grid
        self.embeds = UnitSum(channels, width, norm)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, grid[0] * grid[1], width), requires_grad=False)
        self.blocks = nn.ModuleList(AttentionBlock(width, count, norm) for _ in range(blocks))
        self.norm = norm(width)
        self.pred = nn.Linear(width, out_channels)
        self.grad_checkpointing = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the mask token anew, and fill the positions."""
        nn.init.normal_(self.mask_token, std=0.02)
        with torch.no_grad():
            table = sine_cosine(self.grid, self.positions.shape[2], self.positions.dtype)
            self.positions.copy_(table.flatten(0, 1).unsqueeze(0))

    def forward(self, levels: Sequence[Tensor], grid: tuple[int, int], keep: Tensor) -> Tensor:
        """Predictions ``(B, H * W, out_channels)``, row by row.

        Args:
            levels: ``(B, K, p, p, channels)`` of the kept units, p = 4, 2, 1.
            grid: ``(H, W)`` of units in the images.
            keep: Their places, ``(B, K)``.
        """
        table = resize_table(self.positions[0].unflatten(0, self.grid), grid, extra=0.1).flatten(0, 1)
        x = filled(self.embeds(levels), 3 * self.mask_token[0, 0], keep, grid[0] * grid[1]) + table
        for block in self.blocks:
            x = checkpoint(block, x, grid, use_reentrant=False) if self.grad_checkpointing else block(x, grid)
        return self.pred(self.norm(x))


class FeatureDecoder(nn.Module):
    """Predicts a teacher's features from the pyramid, and from inside the last stage.

    Args:
        channels: Width of the levels.
        embed_dim: Width E of the last stage, a multiple of 16, and of the sum of the levels.
        out_channels: Width of the teacher's features.
        heads: Of the attention.
        norm_eps: Of the LayerNorms.
    """

    def __init__(self, channels: int, embed_dim: int, out_channels: int, heads: int, *, norm_eps: float = 1e-6) -> None:
        super().__init__()
        if embed_dim % 16:
            raise ValueError(f"embed_dim must be a multiple of 16 where features are predicted, got {embed_dim}")
        norm = partial(nn.LayerNorm, eps=norm_eps)
        self.embeds = UnitSum(channels, embed_dim, norm)
        self.norm = norm(embed_dim)
        self.pred = nn.Linear(embed_dim, out_channels)
        self.deep_blocks = nn.ModuleList(AttentionBlock(embed_dim, heads, norm) for _ in range(2))
        self.deep_norm = norm(embed_dim)
        self.deep_pred = nn.Linear(embed_dim, out_channels)
        self.grad_checkpointing = False

    def forward(self, levels: Sequence[Tensor], inner: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Predictions ``(B, L, out_channels)``, two of them.

        Args:
            levels: ``(B, L, p, p, channels)``, p = 4, 2, 1.
            inner: Tokens ``(B, L, E)`` from inside the last stage.
            grid: ``(H, W)`` of units in the images.
        """
        x = inner
        for block in self.deep_blocks:
            x = checkpoint(block, x, grid, use_reentrant=False) if self.grad_checkpointing else block(x, grid)
        return self.pred(self.norm(self.embeds(levels))), self.deep_pred(self.deep_norm(x))
