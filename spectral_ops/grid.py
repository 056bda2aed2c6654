"""Where a gain is asked for, and what a physical quantity may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import torch
from torch import Tensor, nn

from spectral_ops.boundaries import Boundaries
from spectral_ops.eigenvalues import Laplacian

__all__ = ["AxisQuantity", "Grid", "GridOptions", "Pooled", "Quantity"]

#: What a physical quantity may be: a constant, a tensor broadcastable to (H, W, C), or a module mapping a Grid to one.
Quantity = float | Tensor | nn.Module

#: One quantity, or a tuple of one for each dimension.
AxisQuantity = Quantity | Sequence[Quantity]

#: The mean of an input, or what computes it when it is asked for.
Pooled = Tensor | Callable[[], Tensor | None] | None


class GridOptions(TypedDict, total=False):
    """Keyword arguments every operator accepts; see :class:`~spectral_ops.SpectralOperator`."""

    dims: int | Sequence[int]
    laplacian: Laplacian
    boundary: Boundaries
    spacing: float | Sequence[float]


class Grid:
    """Where a gain is asked for: passed to the modules that compute a physical quantity.

    Args:
        sizes: Number of cells along each transformed dimension.
        dtype: The dtype gains are computed in: float64 for float64 inputs, float32 otherwise.
        device: The device they are computed on.
        embedding: Optional spectral embedding ``(*sizes, C)`` handed to the call, for quantities predicted from it.
        pooled: The input's mean over the grid, ``(C)`` or ``(B, C)``, for quantities predicted from the input, or a
            function that returns it, called whenever somebody reads :attr:`pooled`, and only then.

    Example:
        >>> grid = Grid((4, 6), torch.float32, torch.device("cpu"), pooled=lambda: torch.zeros(3))
        >>> grid.sizes, grid.pooled
        ((4, 6), tensor([0., 0., 0.]))
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
        embedding: Tensor | None = None,
        pooled: Pooled = None,
    ) -> None:
        self.sizes, self.dtype, self.device, self.embedding, self._pooled = sizes, dtype, device, embedding, pooled

    @property
    def pooled(self) -> Tensor | None:
        """The input's mean over the grid; None where a gain is asked for without one.

        In an operator's call it is None, too, unless some part of the operator says ``needs_input``.
        """
        return self._pooled() if callable(self._pooled) else self._pooled

    def __repr__(self) -> str:
        return f"Grid(sizes={self.sizes}, dtype={self.dtype}, device={str(self.device)!r})"

    def with_pooled(self, pooled: Callable[[], Tensor | None]) -> Grid:
        """The same grid for an input with another mean."""
        return Grid(self.sizes, self.dtype, self.device, self.embedding, pooled)
