r"""The heat equation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spectral_ops.operator import GridOptions, Quantity, SpectralOperator

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Heat"]


class Heat(SpectralOperator):
    r"""Heat diffusion with insulated walls, :math:`u_t = k \nabla^2 u`.

    Each cosine mode decays on its own, with gain

    .. math::  g(\lambda) = e^{-k \lambda t}.

    Maps with time t and s in turn equal one of time t + s; the mean is conserved and no new extrema appear (the
    maximum principle; on a pixel grid it holds exactly for ``laplacian="finite-difference"``). As ``k t -> 0`` the
    operator tends to the identity, as ``k t -> inf`` to the projection on the mean.

    Args:
        diffusivity: k >= 0, in cells squared per unit of time.
        time: t >= 0.
        **grid: ``dims``, ``laplacian``, ``spacing`` of :class:`~spectral_ops.operator.SpectralOperator`.

    Source:
        Fourier, "Théorie analytique de la chaleur" (1822); as a token mixer: Wang et al., "Building Vision Models
        upon Heat Conduction", CVPR 2025.

    Example:
        >>> x = torch.rand(2, 3, 32, 48)
        >>> y = Heat(diffusivity=0.5, time=4.0)(x)
        >>> y.shape, bool(torch.allclose(y.mean((-2, -1)), x.mean((-2, -1)), atol=1e-5))
        (torch.Size([2, 3, 32, 48]), True)
    """

    def __init__(self, diffusivity: Quantity = 1.0, time: Quantity = 1.0, **grid: Unpack[GridOptions]) -> None:
        super().__init__(**grid)
        self.add_quantity("diffusivity", diffusivity, minimum=0.0)
        self.add_quantity("time", time, minimum=0.0)

    def multiplier(self, eigenvalues: Tensor, *, diffusivity: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        # In this order the constant mode stays 1 even where diffusivity * time would overflow.
        return torch.exp(-(eigenvalues * time) * diffusivity)
