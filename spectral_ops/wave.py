r"""Waves and vibrating plates: equations of second order in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from spectral_ops._functions import power, weighted
from spectral_ops.evolution import Oscillation
from spectral_ops.grid import AxisQuantity, GridOptions, Quantity

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Plate", "Wave"]


class Wave(Oscillation):
    r"""The damped wave equation, :math:`u_{tt} + a u_t = c^2 \nabla^2 u`.

    With :math:`\omega^2 = c^2 \lambda` in :class:`~spectral_ops.evolution.Oscillation`; without damping its gains are

    .. math::  \cos(c \sqrt\lambda\, t) \text{ for the field}, \qquad
               \frac{\sin(c \sqrt\lambda\, t)}{c \sqrt\lambda} \text{ for the velocity (t at } \lambda = 0).

    Low modes, below :math:`\lambda = (a / 2c)^2`, are over-damped and do not oscillate; the constant is always among
    them with insulated walls. As ``time -> 0`` or ``speed -> 0`` (no velocity) the field stays; as ``time -> inf`` it
    tends, with damping, to its mean plus mean velocity over a (to 0 behind cold walls), without damping it has no
    limit. The angle :math:`c \sqrt\lambda\, t` is rounded
    in the gain's dtype: ask for float64 where it reaches many thousands.

    Args:
        speed: c >= 0, in cells per unit of time; or a tuple of one for each dimension, as the diffusivity of
            :class:`~spectral_ops.Heat`: :math:`u_{tt} + a u_t = \sum_i c_i^2 \partial_i^2 u`.
        time: t, of either sign.
        damping: a >= 0, in 1 / time.
        **options: ``dims``, ``laplacian``, ``boundary``, ``spacing`` of :class:`~spectral_ops.SpectralOperator`.

    Source:
        d'Alembert (1747); the telegraph equation with damping. As a token mixer: "WaveFormer", AAAI 2026.

    Example:
        >>> import torch
        >>> u, v = torch.randn(2, 3, 32, 48), torch.randn(2, 3, 32, 48)
        >>> Wave(speed=1.0, time=2.0, damping=0.1)(u, velocity=v).shape
        torch.Size([2, 3, 32, 48])
        >>> there, back = Wave(speed=1.0, time=5.0), Wave(speed=1.0, time=-5.0)
        >>> bool(torch.allclose(back.step(*there.step(u, v))[0], u, atol=1e-4))
        True
    """

    def __init__(
        self,
        speed: AxisQuantity = 1.0,
        time: Quantity = 1.0,
        damping: Quantity = 0.0,
        **options: Unpack[GridOptions],
    ) -> None:
        super().__init__(time, damping, **options)
        self.add_quantity("speed", speed, minimum=0.0, axes=True)

    def frequency(self, eigenvalues: Any, *, speed: Any) -> Tensor:  # type: ignore[override]
        if isinstance(speed, Tensor):
            root: Tensor = eigenvalues.sqrt() * speed
            return root
        return power(weighted(eigenvalues, [c.square() for c in speed]), 0.5)


class Plate(Oscillation):
    r"""The vibrating plate, :math:`u_{tt} + a u_t = -\kappa^2 \nabla^4 u`; dispersive waves.

    With :math:`\omega = \kappa \lambda`; without damping or velocity the gain is :math:`\cos(\kappa \lambda t)`, also
    the real part of the free Schroedinger equation's :math:`e^{-i \kappa \lambda t}`, and the "wave" prior of the
    published MoPPA code. Short waves travel faster than long ones. Its limits are those of :class:`Wave`.

    Args:
        stiffness: kappa >= 0, in cells squared per unit of time.
        time: t, of either sign.
        damping: a >= 0, in 1 / time.
        **options: ``dims``, ``laplacian``, ``boundary``, ``spacing`` of :class:`~spectral_ops.SpectralOperator`.

    Source:
        Germain (1821), Kirchhoff (1850).

    Example:
        >>> import torch
        >>> Plate(stiffness=0.5, time=2.0)(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self,
        stiffness: Quantity = 1.0,
        time: Quantity = 1.0,
        damping: Quantity = 0.0,
        **options: Unpack[GridOptions],
    ) -> None:
        super().__init__(time, damping, **options)
        self.add_quantity("stiffness", stiffness, minimum=0.0)

    def frequency(self, eigenvalues: Tensor, *, stiffness: Tensor) -> Tensor:  # type: ignore[override]
        return eigenvalues * stiffness
