"""Modules that compute a physical quantity: learnable with its range kept, or predicted from a spectral embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_ops._checks import check_quantity
from spectral_ops.operator import Grid

__all__ = ["FromEmbedding", "Softplus"]


class Softplus(nn.Module):
    """A learnable quantity that stays positive: ``softplus(raw)``.

    Args:
        initial: Its value before training, > 0.
        shape: Of the parameter, broadcastable to ``(*sizes, C)``: ``()`` for one value, ``(C,)`` for one per channel.

    Example:
        >>> from spectral_ops import Heat
        >>> heat = Heat(diffusivity=Softplus(0.3, (16,)))
        >>> heat(torch.randn(2, 16, 8, 8)).shape, heat.gain((8, 8)).shape
        (torch.Size([2, 16, 8, 8]), torch.Size([8, 8, 16]))
    """

    def __init__(self, initial: float = 1.0, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        check_quantity("initial", initial, 0.0, strict=True)
        value = torch.full(shape, float(initial), dtype=torch.float64)
        inverse = value + torch.log(-torch.expm1(-value))
        self.raw = nn.Parameter(inverse.to(torch.get_default_dtype()))

    def forward(self, grid: Grid) -> Tensor:
        return F.softplus(self.raw.to(grid.dtype))

    def extra_repr(self) -> str:
        return f"shape={tuple(self.raw.shape)}"


class FromEmbedding(nn.Module):
    r"""A non-negative quantity predicted for each mode and channel: ``relu(linear(embedding))``.

    This is vHeat's diffusivity: :math:`k = \mathrm{ReLU}(W E + b)`, with E the spectral embedding ``(*sizes, C)``
    given to the operator's call. It does not depend on the input.

    Args:
        channels: C of the embedding and of the result.

    Raises:
        ValueError: The operator was called without an embedding, or with one of other width.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, grid: Grid) -> Tensor:
        if grid.embedding is None:
            raise ValueError(
                "this operator predicts a quantity from a spectral embedding: call it as operator(x, embedding)"
            )
        if grid.embedding.shape[-1] != self.linear.in_features:
            raise ValueError(
                f"embedding must have {self.linear.in_features} channels, got shape {tuple(grid.embedding.shape)}"
            )
        weight, bias = self.linear.weight.to(grid.dtype), self.linear.bias.to(grid.dtype)
        return F.relu(F.linear(grid.embedding.to(grid.dtype), weight, bias))
