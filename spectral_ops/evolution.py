r"""Evolution equations of first and second order in time: what heat, waves and their relatives share."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from spectral_ops._checks import check_floating
from spectral_ops._functions import oscillator, phi1
from spectral_ops.composition import Wrapper
from spectral_ops.grid import Grid, GridOptions, Pooled, Quantity
from spectral_ops.operator import SpectralOperator

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Oscillation", "Relaxation", "SourceResponse", "VelocityResponse"]


class Relaxation(SpectralOperator):
    r"""Base of :math:`u_t = -r(-\nabla^2)\,u + f`: each mode decays at a rate of its own.

    .. math::  \hat u(t) = e^{-r t}\,\hat u + \frac{1 - e^{-r t}}{r}\,\hat f

    where the second factor is t for a mode that does not decay. A subclass declares its quantities and gives
    :math:`r(\lambda)` in :meth:`rate`.

    Args:
        time: t >= 0; ``inf`` keeps only the modes that do not decay.
        **options: ``dims``, ``laplacian``, ``boundary``, ``spacing`` of :class:`~spectral_ops.SpectralOperator`.
    """

    def __init__(self, time: Quantity = 1.0, **options: Unpack[GridOptions]) -> None:
        super().__init__(**options)
        self.add_quantity("time", time, minimum=0.0, endless=True)

    @abstractmethod
    def rate(self, eigenvalues: Any, **quantities: Any) -> Tensor:
        """The decay rate r >= 0 for ``eigenvalues`` of shape ``(*sizes, 1)``, given every quantity but the time.

        ``eigenvalues`` is a tuple of one such tensor per dimension where :attr:`~SpectralOperator.per_axis` is true.

        Take roots of what is learned by :func:`~spectral_ops.power`, as in :meth:`Oscillation.frequency`.
        """

    @property
    def _endless(self) -> bool:
        return not isinstance(self.time, (Tensor, nn.Module)) and self.time == math.inf

    def multiplier(self, eigenvalues: Any, *, time: Tensor, **quantities: Any) -> Tensor:  # type: ignore[override]
        rate = self._finite_rate(eigenvalues, quantities)
        return (rate == 0).to(rate.dtype) if self._endless else torch.exp(-rate * time)

    def _finite_rate(self, eigenvalues: Any, quantities: dict[str, Any]) -> Tensor:
        """The rate, cut off before it overflows: an infinite one would make nan of time 0."""
        rate = self.rate(eigenvalues, **quantities)
        check_floating(rate, f"the result of {type(self).__name__}.rate")
        return rate.clamp(max=torch.finfo(rate.dtype).max)

    def forward(
        self, x: Tensor, *, embedding: Tensor | None = None, pooled: Pooled = None, source: Tensor | None = None
    ) -> Tensor:
        """The field at the end; see :meth:`SpectralOperator.forward`.

        Args:
            x: The field at the beginning.
            embedding, pooled: See :meth:`SpectralOperator.forward`.
            source: f, constant in time, of the shape and dtype of ``x``. It costs one more forward transform.
                Quantities predicted from the input are predicted from ``x`` for both.
        """
        terms: list[tuple[Tensor, SpectralOperator]] = [(x, self)]
        if source is not None:
            terms.append((source, self.source_response()))
        return self._superpose(terms, embedding, pooled)

    def source_response(self) -> SourceResponse:
        """The operator from a steady source f to what it adds to the field; it shares this one's quantities."""
        return SourceResponse(self)


class SourceResponse(Wrapper):
    """What a source that is constant in time adds to a field: ``f -> (1 - exp(-r t)) / r f``.

    Args:
        evolution: The equation; its quantities are shared, not copied.

    Raises:
        ValueError: The time is infinite; then solve for the steady state with :class:`~spectral_ops.Poisson`.

    Example:
        >>> from spectral_ops import Heat
        >>> heat = Heat(diffusivity=0.3, time=2.0)
        >>> u, f = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
        >>> bool(torch.allclose(heat(u, source=f), heat(u) + heat.source_response()(f), atol=1e-5))
        True
    """

    def __init__(self, evolution: Relaxation) -> None:
        if not isinstance(evolution, Relaxation):
            raise TypeError(f"evolution must be a Relaxation such as Heat, got {type(evolution).__name__}")
        super().__init__(evolution)

    def raw_gain(self, grid: Grid) -> Tensor:
        evolution = self.inner
        assert isinstance(evolution, Relaxation)
        if evolution._endless:
            raise ValueError("time is inf: a source has no response in the limit; Poisson gives the steady state")
        eigenvalues, quantities = evolution._evaluate(grid)
        time: Tensor = quantities.pop("time")
        return time * phi1(evolution._finite_rate(eigenvalues, quantities) * time)


class Oscillation(SpectralOperator):
    r"""Base of :math:`u_{tt} + a\,u_t + \omega^2(-\nabla^2)\,u = 0`: each mode is a damped oscillator.

    With :math:`b = a t / 2`, :math:`z = \omega^2 t^2 - b^2`, :math:`C = e^{-b}\cos\sqrt z` and
    :math:`S = e^{-b}\sin\sqrt z / \sqrt z`, both of which are smooth in z and hyperbolic for z < 0,

    .. math::  \hat u(t) &= (C + b S)\,\hat u + t S\,\hat v, \\
               \hat u_t(t) &= -\omega^2 t S\,\hat u + (C - b S)\,\hat v,

    for an initial field u and an initial velocity v (0 where none is given). Values and gradients are finite across the
    critical point z = 0 and for large times. Without damping the energy of each mode is conserved and ``-time`` undoes
    ``time``. A subclass declares its quantities and gives :math:`\omega(\lambda)` in :meth:`frequency`.

    Args:
        time: t, of either sign; with damping, negative times grow.
        damping: a >= 0, in 1 / time.
        **options: ``dims``, ``laplacian``, ``boundary``, ``spacing`` of :class:`~spectral_ops.SpectralOperator`.
    """

    def __init__(self, time: Quantity = 1.0, damping: Quantity = 0.0, **options: Unpack[GridOptions]) -> None:
        super().__init__(**options)
        self.add_quantity("time", time)
        self.add_quantity("damping", damping, minimum=0.0)

    @abstractmethod
    def frequency(self, eigenvalues: Any, **quantities: Any) -> Tensor:
        """omega >= 0 for ``eigenvalues`` ``(*sizes, 1)``, given every quantity but time and damping.

        ``eigenvalues`` is a tuple of one such tensor per dimension where :attr:`~SpectralOperator.per_axis` is true.

        It is the frequency itself, not its square. Take roots of what is learned by :func:`~spectral_ops.power`:
        ``sqrt`` makes its gradient nan where omega is 0, as it is for the constant mode between insulated walls.
        """

    def multiplier(self, eigenvalues: Any, **quantities: Any) -> Tensor:
        if not isinstance(self.damping, (Tensor, nn.Module)) and self.damping == 0:  # a fraction of the work below
            time = quantities.pop("time")
            del quantities["damping"]
            return torch.cos(self._real_frequency(eigenvalues, quantities) * time)
        return self._propagator(eigenvalues, **quantities)["field to field"]

    def _real_frequency(self, eigenvalues: Any, quantities: dict[str, Any]) -> Tensor:
        omega = self.frequency(eigenvalues, **quantities)
        check_floating(omega, f"the result of {type(self).__name__}.frequency")
        return omega

    def _propagator(self, eigenvalues: Any, *, time: Tensor, damping: Tensor, **quantities: Any) -> dict[str, Tensor]:
        """The gains from field and velocity at the beginning to both at the end."""
        omega = self._real_frequency(eigenvalues, quantities)
        angle = (omega * time).abs()
        field, sinc, velocity = oscillator(angle, damping * time / 2)
        return {
            "field to field": field,
            "velocity to field": time * sinc,
            "field to velocity": -omega * (omega * time * sinc),
            "velocity to velocity": velocity,
        }

    def forward(
        self, x: Tensor, *, embedding: Tensor | None = None, pooled: Pooled = None, velocity: Tensor | None = None
    ) -> Tensor:
        """The field at the end; see :meth:`SpectralOperator.forward`.

        Args:
            x: The field at the beginning.
            embedding, pooled: See :meth:`SpectralOperator.forward`.
            velocity: u_t at the beginning, of the shape and dtype of ``x``. It costs one more forward transform.
                Quantities predicted from the input are predicted from ``x`` for both.
        """
        terms: list[tuple[Tensor, SpectralOperator]] = [(x, self)]
        if velocity is not None:
            terms.append((velocity, self.velocity_response()))
        return self._superpose(terms, embedding, pooled)

    def step(self, x: Tensor, velocity: Tensor, *, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Field and velocity at the end, from both at the beginning."""
        to_field = (self, VelocityResponse(self))
        to_velocity = (VelocityResponse(self, "field to velocity"), VelocityResponse(self, "velocity to velocity"))
        field, velocity = self._apply_rows((x, velocity), (to_field, to_velocity), embedding)
        return field, velocity

    def velocity_response(self) -> VelocityResponse:
        """The operator from an initial velocity to what it adds to the field; it shares this one's quantities."""
        return VelocityResponse(self)


Propagation = Literal["velocity to field", "field to velocity", "velocity to velocity"]


class VelocityResponse(Wrapper):
    """What an initial velocity adds to the field: ``v -> t S v`` in the notation of :class:`Oscillation`.

    Args:
        oscillation: The equation; its quantities are shared, not copied.
        kind: ``"velocity to field"``, or one of the other two entries of the propagator, ``"field to velocity"`` and
            ``"velocity to velocity"``.

    Example:
        >>> from spectral_ops import Wave
        >>> wave = Wave(speed=1.0, time=2.0)
        >>> u, v = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
        >>> bool(torch.allclose(wave(u, velocity=v), wave(u) + wave.velocity_response()(v), atol=1e-5))
        True
    """

    def __init__(self, oscillation: Oscillation, kind: Propagation = "velocity to field") -> None:
        if not isinstance(oscillation, Oscillation):
            raise TypeError(f"oscillation must be an Oscillation such as Wave, got {type(oscillation).__name__}")
        if kind not in get_args(Propagation):
            raise ValueError(f"kind must be one of {get_args(Propagation)}, got {kind!r}")
        super().__init__(oscillation)
        self.kind = kind

    def raw_gain(self, grid: Grid) -> Tensor:
        oscillation = self.inner
        assert isinstance(oscillation, Oscillation)
        eigenvalues, quantities = oscillation._evaluate(grid)
        return oscillation._propagator(eigenvalues, **quantities)[self.kind]

    def __repr__(self) -> str:
        return f"VelocityResponse({self.inner!r}, {self.kind!r})"
