"""What the released recipe trains beside the units: rescaled linear layers (RLRR) and scaled, shifted outputs (SSF)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Rescale", "ScaleShift", "at_last_rows", "rescaled", "rescaled_by_calls", "shifted"]


def rescaled(weight: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """A weight with its last rows, as many as there are row scales, rescaled; in its dtype."""
    part = weight[-len(row) :]
    part = torch.addcmul(part, part, torch.outer(row, column).to(weight.dtype))
    return part if len(row) == len(weight) else torch.cat([weight[: -len(row)], part])


class Rescale(nn.Module):
    r"""A rank-one rescaling of a linear layer: :math:`W' = W \odot (1 + r c^T)`, :math:`b' = b + s`.

    The column scales start as a kaiming-uniform draw and the shift at zero; the row scales at zero too, so that W' = W,
    or, as released, as another draw. The rows may be limited to the last ones, the value part of a fused qkv.

    It returns r, c and s (None without a shift): what is hooked on a module's call may make its parameters there.

    Args:
        linear: The layer, which stays as it is.
        rows: How many of its last rows are rescaled.
        shift: Whether its bias is shifted.
        identity: Whether it starts as the identity.
    """

    def __init__(self, linear: nn.Linear, rows: int, *, shift: bool, identity: bool) -> None:
        super().__init__()
        self.rows = rows
        self.row = nn.Parameter(torch.zeros(rows) if identity else _kaiming(rows))
        self.column = nn.Parameter(_kaiming(linear.in_features))
        self.shift = nn.Parameter(torch.zeros(rows)) if shift else None

    def forward(self) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.row, self.column, self.shift


def at_last_rows(values: Tensor, rows: int) -> Tensor:
    """Values of the last rows, with zeros for those before."""
    return values if len(values) == rows else torch.nn.functional.pad(values, (rows - len(values), 0))


def shifted(bias: Tensor | None, shift: Tensor | None, rows: int) -> Tensor | None:
    """A bias with its last entries shifted, in its dtype."""
    if shift is None:
        return bias
    shift = at_last_rows(shift, rows)
    return shift if bias is None else bias + shift.to(bias.dtype)


def rescaled_by_calls(layer: Callable[[Tensor], Tensor], x: Tensor, scales: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """What a rescaled linear layer returns, by nothing but calls of the layer: its weight may be hidden, for example
    quantised, pruned, parametrised or elsewhere.

    Args:
        layer: The linear layer.
        x: Its input.
        scales: The row and the column scales of each rescaling, the first to act first.
    """
    bias = layer(x.new_zeros(1, x.shape[-1]))[0]

    def change(x: Tensor, y: Tensor, scales: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """``(W' - W) x``, with y = W x + bias."""
        if not scales:
            return torch.zeros_like(y)
        *before, (row, column) = scales
        scaled = x * column.to(x.dtype)
        product = layer(scaled)
        product = product - bias + change(scaled, product, before)
        return change(x, y, before) + at_last_rows(row, y.shape[-1]).to(y.dtype) * product

    y = layer(x)
    return y + change(x, y, scales)


def _kaiming(size: int) -> Tensor:
    """A draw of the kaiming-uniform initialisation of a vector: one row, ``size`` inputs, slope sqrt(5)."""
    bound = 1 / math.sqrt(size)
    return torch.empty(size).uniform_(-bound, bound)


class ScaleShift(nn.Module):
    """``scale * y + shift`` per channel of an output.

    Args:
        channels: C.
        dim: The channel dimension of the output.
        identity: Whether it starts as the identity, or near it as released: N(1, 0.02) and N(0, 0.02).
    """

    def __init__(self, channels: int, dim: int, *, identity: bool) -> None:
        super().__init__()
        self.dim = dim
        spread = 0.0 if identity else 0.02
        self.scale = nn.Parameter(1 + spread * torch.randn(channels))
        self.shift = nn.Parameter(spread * torch.randn(channels))

    def forward(self, y: Tensor) -> Tensor:
        shape = [1] * y.ndim
        shape[self.dim] = -1
        return y * self.scale.to(y.dtype).view(shape) + self.shift.to(y.dtype).view(shape)
