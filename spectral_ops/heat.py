r"""The heat equation and its relatives of first order in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from spectral_ops._functions import power, weighted
from spectral_ops.evolution import Relaxation
from spectral_ops.grid import AxisQuantity, GridOptions, Quantity

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Biharmonic", "FractionalHeat", "Heat", "ReactionDiffusion"]


class Heat(Relaxation):
    r"""Heat diffusion, :math:`u_t = k \nabla^2 u + f`.

    Each mode decays on its own, with gain

    .. math::  g(\lambda) = e^{-k \lambda t}.

    Maps with time t and s in turn equal one of time t + s; with insulated walls the mean is conserved and no new
    extrema appear (the maximum principle; on a pixel grid it holds exactly for ``laplacian="finite-difference"``). As
    ``k t -> 0`` the operator tends to the identity, as ``k t -> inf`` to the projection on the mean, or to 0 behind
    cold walls.

    Args:
        diffusivity: k >= 0, in cells squared per unit of time; or a tuple of one for each dimension, of which each may
            be whatever one alone may be: the anisotropic :math:`u_t = \sum_i k_i \partial_i^2 u`.
        time: t >= 0; ``inf`` gives the limit.
        **options: ``dims``, ``laplacian``, ``boundary``, ``spacing`` of :class:`~spectral_ops.SpectralOperator`.

    Source:
        Fourier, "Théorie analytique de la chaleur" (1822); as a token mixer: Wang et al., "Building Vision Models
        upon Heat Conduction", CVPR 2025.

    Example:
        >>> import torch
        >>> x = torch.rand(2, 3, 32, 48)
        >>> y = Heat(diffusivity=0.5, time=4.0)(x)
        >>> y.shape, bool(torch.allclose(y.mean((-2, -1)), x.mean((-2, -1)), atol=1e-5))
        (torch.Size([2, 3, 32, 48]), True)
        >>> Heat(diffusivity=(0.1, 2.0))(x).shape  # slow down the columns, fast along the rows
        torch.Size([2, 3, 32, 48])
    """

    def __init__(self, diffusivity: AxisQuantity = 1.0, time: Quantity = 1.0, **options: Unpack[GridOptions]) -> None:
        super().__init__(time, **options)
        self.add_quantity("diffusivity", diffusivity, minimum=0.0, axes=True)

    def rate(self, eigenvalues: Any, *, diffusivity: Any) -> Tensor:  # type: ignore[override]
        return weighted(eigenvalues, diffusivity)


class FractionalHeat(Relaxation):
    r"""Anomalous diffusion, :math:`u_t = -k (-\nabla^2)^s u + f`, with gain :math:`e^{-k \lambda^s t}`.

    ``order=1`` is :class:`Heat`, ``order=0.5`` the Cauchy (Poisson) kernel, whose tails fall like a power of the
    distance instead of a Gaussian; below 1 it is the flow of a symmetric stable process. With insulated walls the mean
    is conserved for every order, also as ``order -> 0``, where all other modes decay alike.

    Args:
        diffusivity: k >= 0, in cells^(2 s) per unit of time.
        order: s >= 0.
        time: t >= 0; ``inf`` gives the limit, the mean or, behind cold walls, 0.
        **options: ``dims``, ``laplacian``, ``boundary``, ``spacing`` of :class:`~spectral_ops.SpectralOperator`.

    Source:
        Kwaśnicki, "Ten equivalent definitions of the fractional Laplace operator", 2017 (the spectral definition).

    Example:
        >>> import torch
        >>> cauchy = FractionalHeat(diffusivity=0.8, order=0.5)
        >>> cauchy(torch.randn(1, 4, 20, 20)).shape
        torch.Size([1, 4, 20, 20])
    """

    def __init__(
        self,
        diffusivity: Quantity = 1.0,
        order: Quantity = 0.5,
        time: Quantity = 1.0,
        **options: Unpack[GridOptions],
    ) -> None:
        super().__init__(time, **options)
        self.add_quantity("diffusivity", diffusivity, minimum=0.0)
        self.add_quantity("order", order, minimum=0.0)

    def rate(self, eigenvalues: Tensor, *, diffusivity: Tensor, order: Tensor) -> Tensor:  # type: ignore[override]
        return diffusivity * power(eigenvalues, order)


class Biharmonic(Relaxation):
    r"""Fourth-order smoothing, :math:`u_t = -\kappa \nabla^4 u + f`, with gain :math:`e^{-\kappa \lambda^2 t}`.

    It keeps low modes and cuts high ones more sharply than heat, conserves the mean between insulated walls, and has no
    maximum principle: near an edge it overshoots. As ``kappa t -> 0`` it tends to the identity.

    Args:
        stiffness: kappa >= 0, in cells^4 per unit of time.
        time: t >= 0; ``inf`` gives the limit, the mean or, behind cold walls, 0.
        **options: ``dims``, ``laplacian``, ``boundary``, ``spacing`` of :class:`~spectral_ops.SpectralOperator`.

    Source:
        Mullins, "Theory of thermal grooving", 1957 (surface diffusion, linearised).

    Example:
        >>> import torch
        >>> Biharmonic(stiffness=0.1)(torch.randn(1, 4, 20, 20)).shape
        torch.Size([1, 4, 20, 20])
    """

    def __init__(self, stiffness: Quantity = 1.0, time: Quantity = 1.0, **options: Unpack[GridOptions]) -> None:
        super().__init__(time, **options)
        self.add_quantity("stiffness", stiffness, minimum=0.0)

    def rate(self, eigenvalues: Tensor, *, stiffness: Tensor) -> Tensor:  # type: ignore[override]
        return eigenvalues.square() * stiffness


class ReactionDiffusion(Relaxation):
    r"""Diffusion with linear loss, :math:`u_t = k \nabla^2 u - r u + f`, with gain :math:`e^{-(k \lambda + r) t}`.

    The mean decays at rate r; as ``t -> 0`` it tends to the identity, with r > 0 as ``t -> inf`` to 0. With
    ``reaction=0`` it is :class:`Heat`; a steady source tends to the solution of :math:`(r - k \nabla^2) u = f`,
    screened :class:`~spectral_ops.poisson.Poisson`.

    Args:
        diffusivity: k >= 0, in cells squared per unit of time, or one for each dimension, as in :class:`Heat`.
        reaction: r >= 0, in 1 / time.
        time: t >= 0; ``inf`` gives zero, or what does not decay.
        **options: ``dims``, ``laplacian``, ``boundary``, ``spacing`` of :class:`~spectral_ops.SpectralOperator`.

    Source:
        Fisher, "The wave of advance of advantageous genes", 1937, linearised at the stable state.

    Example:
        >>> import torch
        >>> ReactionDiffusion(diffusivity=0.5, reaction=0.1)(torch.randn(1, 4, 20, 20)).shape
        torch.Size([1, 4, 20, 20])
    """

    def __init__(
        self,
        diffusivity: AxisQuantity = 1.0,
        reaction: Quantity = 0.1,
        time: Quantity = 1.0,
        **options: Unpack[GridOptions],
    ) -> None:
        super().__init__(time, **options)
        self.add_quantity("diffusivity", diffusivity, minimum=0.0, axes=True)
        self.add_quantity("reaction", reaction, minimum=0.0)

    def rate(self, eigenvalues: Any, *, diffusivity: Any, reaction: Tensor) -> Tensor:  # type: ignore[override]
        return weighted(eigenvalues, diffusivity) + reaction
