"""What the released recipe trains beside the units: rescaled linear layers (RLRR) and scaled, shifted outputs (SSF)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Rescale", "ScaleShift", "rescaled"]


def rescaled(weight: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """A weight with its last rows, as many as there are row scales, rescaled; in its dtype."""
    part = weight[-len(row) :]
    part = torch.addcmul(part, part, torch.outer(row, column).to(weight.dtype))
    return part if len(row) == len(weight) else torch.cat([weight[: -len(row)], part])


class Rescale(nn.Module):
    r"""A rank-one rescaling of a linear layer: :math:`W' = W \odot (1 + r c^T)`, :math:`b' = b + s`.

    The column scales start as a kaiming-uniform draw and the shift at zero; the row scales at zero too, so that W' = W,
    or, as released, as another draw. The rows may be limited to the last ones, the value part of a fused qkv.

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

    def weight(self, weight: Tensor) -> Tensor:
        """The rescaled weight, in the dtype of ``weight``."""
        return rescaled(weight, self.row, self.column)

    def bias(self, bias: Tensor | None, outputs: int) -> Tensor | None:
        """The shifted bias of a layer with this many outputs."""
        if self.shift is None:
            return bias
        shift = torch.nn.functional.pad(self.shift, (outputs - self.rows, 0))
        return shift if bias is None else bias + shift.to(bias.dtype)


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
