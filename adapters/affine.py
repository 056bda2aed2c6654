"""What is trained beside the units: changed weights of linear layers (RLRR, low rank), scaled and shifted outputs
(SSF), scaled quantities of the network's own physics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Change", "Factor", "Reweight", "ScaleShift", "at_last_rows", "changed", "changed_by_calls", "shifted"]


class Change(NamedTuple):
    """The tensors of :class:`Reweight` that a weight depends on; None for what is not trained."""

    row: Tensor | None
    column: Tensor | None
    up: Tensor | None
    down: Tensor | None

    @property
    def rows(self) -> int:
        """How many of the last rows of the weight change."""
        first = self.up if self.row is None else self.row
        assert first is not None
        return len(first)


def changed(weight: Tensor, change: Change) -> Tensor:
    """A weight with its last rows changed, in its dtype."""
    row, column, up, down = change
    part = weight[-change.rows :]
    if row is not None and column is not None:
        part = torch.addcmul(part, part, torch.outer(row, column).to(weight.dtype))
    if up is not None and down is not None:
        part = part + (up @ down).to(weight.dtype)
    return part if len(part) == len(weight) else torch.cat([weight[: -len(part)], part])


class Reweight(nn.Module):
    r"""A change of a linear layer: :math:`W' = W \odot (1 + r c^T) + U D`, :math:`b' = b + s`.

    The column scales c start as a kaiming-uniform draw and the shift s at zero; the row scales r at zero too, so that
    W' = W, or, as released, as another draw. U starts at zero, D as a kaiming-uniform draw. The rows may be limited to
    the last ones, the value part of a fused qkv.

    It returns (r, c, U, D) and s, with None for what it has not: what is hooked on a module's call may make its
    parameters there.

    Args:
        linear: The layer, which stays as it is.
        rows: How many of its last rows change.
        rescale: Whether there are r, c and s.
        rank: Of U D, 0 for none.
        shift: Whether its bias can be shifted.
        identity: Whether r starts at zero.
    """

    def __init__(self, linear: nn.Linear, rows: int, *, rescale: bool, rank: int, shift: bool, identity: bool) -> None:
        super().__init__()
        self.row: nn.Parameter | None = None
        self.column: nn.Parameter | None = None
        self.shift: nn.Parameter | None = None
        self.up: nn.Parameter | None = None
        self.down: nn.Parameter | None = None
        if rescale:
            self.row = nn.Parameter(torch.zeros(rows) if identity else _kaiming(rows))
            self.column = nn.Parameter(_kaiming(linear.in_features))
            self.shift = nn.Parameter(torch.zeros(rows)) if shift else None
        if rank:
            self.up = nn.Parameter(torch.zeros(rows, rank))
            self.down = nn.Parameter(_kaiming(linear.in_features, rank))

    def forward(self) -> tuple[Change, Tensor | None]:
        return Change(self.row, self.column, self.up, self.down), self.shift


def at_last_rows(values: Tensor, rows: int) -> Tensor:
    """Values of the last rows, with zeros for those before."""
    return values if len(values) == rows else torch.nn.functional.pad(values, (rows - len(values), 0))


def shifted(bias: Tensor | None, shift: Tensor | None, rows: int) -> Tensor | None:
    """A bias with its last entries shifted, in its dtype."""
    if shift is None:
        return bias
    shift = at_last_rows(shift, rows)
    return shift if bias is None else bias + shift.to(bias.dtype)


def changed_by_calls(layer: Callable[[Tensor], Tensor], x: Tensor, changes: Sequence[Change]) -> Tensor:
    """What a changed linear layer returns, by nothing but calls of the layer: its weight may be hidden, for example
    quantised, pruned, parametrised or elsewhere.

    Args:
        layer: The linear layer.
        x: Its input.
        changes: Of its weight, the first to act first.
    """
    bias = layer(x.new_zeros(1, x.shape[-1]))[0]

    def more(x: Tensor, y: Tensor, changes: Sequence[Change]) -> Tensor:
        """``(W' - W) x``, with y = W x + bias."""
        if not changes:
            return torch.zeros_like(y)
        *before, (row, column, up, down) = changes
        difference = more(x, y, before)
        if row is not None and column is not None:
            scaled = x * column.to(x.dtype)
            product = layer(scaled)
            product = product - bias + more(scaled, product, before)
            difference = difference + at_last_rows(row, y.shape[-1]).to(y.dtype) * product
        if up is not None and down is not None:
            low = x @ down.T.to(x.dtype) @ up.T.to(x.dtype)
            difference = difference + torch.nn.functional.pad(low, (y.shape[-1] - len(up), 0)).to(y.dtype)
        return difference

    y = layer(x)
    return y + more(x, y, changes)


def _kaiming(size: int, *rows: int) -> Tensor:
    """A draw of the kaiming-uniform initialisation with ``size`` inputs and slope sqrt(5), of a vector or of rows."""
    bound = 1 / math.sqrt(size)
    return torch.empty(*rows, size).uniform_(-bound, bound)


class Factor(nn.Module):
    r"""A quantity of the network's own physics with a positive factor for each channel, :math:`q' = q\,e^{\theta}`.

    Theta starts at zero, so that q' = q. It keeps the sign that a quantity must have.

    Args:
        channels: C; the quantity is broadcastable to ``(*sizes, C)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.zeros(channels))

    def forward(self, quantity: Tensor) -> Tensor:
        return quantity * self.log.to(quantity.dtype).exp()


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
