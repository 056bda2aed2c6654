r"""Steady states: Poisson's equation and its screened form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spectral_ops._functions import weighted
from spectral_ops.grid import AxisQuantity, GridOptions, Quantity
from spectral_ops.operator import SpectralOperator

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Poisson"]


class Poisson(SpectralOperator):
    r"""Solve :math:`(-k \nabla^2 + s^2)\, u = f`, with gain

    .. math::  g(\lambda) = \frac{1}{k \lambda + s^2}, \qquad 0 \text{ where } k \lambda + s^2 = 0.

    Without screening and with insulated walls a solution exists only for a source without mean, and is unique up to a
    constant: the mean of f is removed and u has mean 0. With screening (the modified Helmholtz equation) the solution
    is unique and falls off over the length sqrt(k) / s; as ``s -> inf`` it tends to f / s^2. As ``s -> 0`` the constant
    mode grows without bound, up to where s^2 underflows and it is removed: keep a learned s away from 0, with
    :class:`~spectral_ops.quantities.Bounded`.

    Args:
        screening: s >= 0, in 1 / cells for k = 1.
        conductivity: k >= 0, or a tuple of one for each dimension, as the diffusivity of :class:`~spectral_ops.Heat`:
            :math:`-\sum_i k_i \partial_i^2 u + s^2 u = f`.
        **options: ``dims``, ``laplacian``, ``boundary``, ``spacing`` of :class:`~spectral_ops.SpectralOperator`.

    Source:
        Buzbee, Golub and Nielson, "On direct methods for solving Poisson's equations", 1970.

    Example:
        >>> f = torch.randn(1, 1, 24, 32)
        >>> u = Poisson()(f)
        >>> u.shape, bool(u.mean().abs() < 1e-4)
        (torch.Size([1, 1, 24, 32]), True)
    """

    def __init__(
        self, screening: Quantity = 0.0, conductivity: AxisQuantity = 1.0, **options: Unpack[GridOptions]
    ) -> None:
        super().__init__(**options)
        self.add_quantity("screening", screening, minimum=0.0)
        self.add_quantity("conductivity", conductivity, minimum=0.0, axes=True)

    def multiplier(self, eigenvalues: Any, *, screening: Tensor, conductivity: Any) -> Tensor:  # type: ignore[override]
        total = weighted(eigenvalues, conductivity) + screening.square()
        solvable = total > torch.finfo(total.dtype).tiny  # else its inverse would overflow
        return torch.where(solvable, 1 / torch.where(solvable, total, 1), 0)
