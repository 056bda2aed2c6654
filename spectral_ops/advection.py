r"""Advection on periodic axes: a shift of the field, which no gain on real modes is."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spectral_ops._checks import check_sizes, normalise_dims
from spectral_ops.apply import align, apply_gains, check_fields, no_autocast
from spectral_ops.boundaries import BOUNDARIES, half_waves, one_per_axis
from spectral_ops.grid import AxisQuantity, Grid, GridOptions, Quantity
from spectral_ops.heat import Heat
from spectral_ops.holder import PerAxis
from spectral_ops.operator import drop_channel, pool

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Advection"]


class Advection(nn.Module):
    r"""Advection and diffusion on periodic axes, :math:`u_t + c \cdot \nabla u = k \nabla^2 u`.

    The field moves by :math:`c\,t` and is blurred as by :class:`~spectral_ops.Heat` meanwhile: the cosine and the sine
    of each frequency, with amplitudes a and b, turn into each other,

    .. math::  a' = e^{-k \lambda t} (a \cos\theta - b \sin\theta), \qquad
               b' = e^{-k \lambda t} (b \cos\theta + a \sin\theta), \qquad
               \theta = 2 \pi j\, c\,t / N

    for frequency j of an axis of N cells. That is a rotation and no gain, so this is no
    :class:`~spectral_ops.SpectralOperator` and no part of expressions; it takes one transform pair by itself. Moves by
    whole cells are exactly ``torch.roll``; between cells the field is its trigonometric interpolation, of whose
    alternating mode, for even N, only the cosine is kept, as by every FFT. It is also the Fokker-Planck equation of a
    constant drift c.

    Args:
        velocity: c, one quantity for each of ``dims`` in their order, in cells per unit of time: for ``(-2, -1)`` down,
            then to the right. Floats, tensors broadcastable to ``(*sizes, C)``, parameters or modules, also such as
            predict it from the input's mean. No quantity may differ between modes.
        diffusivity: k >= 0, one or a tuple of one for each dimension.
        time: t >= 0, finite.
        **options: ``dims``, ``laplacian``, ``boundary``, ``spacing`` of :class:`~spectral_ops.SpectralOperator`;
            ``boundary`` is ``"periodic"`` by default. There may be walls along dimensions of velocity 0, the number.

    Raises:
        ValueError: There are walls across the velocity, not as many velocities as dimensions, or a quantity that
            differs between modes, as all that is predicted from a spectral embedding.

    Example:
        >>> x = torch.randn(2, 3, 32, 48)
        >>> moved = Advection(velocity=(2.0, -1.0))(x)
        >>> bool(torch.allclose(moved, x.roll((2, -1), (-2, -1)), atol=1e-4))
        True
    """

    def __init__(
        self,
        velocity: AxisQuantity,
        diffusivity: AxisQuantity = 0.0,
        time: Quantity = 1.0,
        **options: Unpack[GridOptions],
    ) -> None:
        super().__init__()
        options.setdefault("boundary", "periodic")
        self.heat = Heat(diffusivity, time, **options)
        dims, given = self.heat.dims, velocity if isinstance(velocity, (tuple, list)) else (velocity,)
        if self.heat._endless:
            raise ValueError("time must be finite, got inf: what moves has no limit")
        if len(given) != len(dims):
            raise ValueError(f"velocity must be one quantity for each of the dimensions {dims}, got {velocity!r}")
        self.velocity = PerAxis("velocity", given, None, False)
        for name, module in self.named_modules():
            if getattr(module, "needs_embedding", False):
                label = re.sub(r"\.(\d+)", r"[\1]", name.removeprefix("heat."))
                raise ValueError(f"{label} must not differ between modes, got {module!r}, which needs an embedding")
        for axis, wall in enumerate(self._boundaries()):
            if wall != "periodic" and self._moves(axis):
                raise ValueError(
                    f"velocity[{axis}] must be 0 along dimension {dims[axis]}, whose boundary is {wall!r}, got "
                    f"{given[axis]!r}: nothing moves through walls, and of {BOUNDARIES} only 'periodic' has none"
                )

    def _boundaries(self) -> tuple[str, ...]:
        return one_per_axis(self.heat.boundary, len(self.heat.dims))

    def _moves(self, axis: int) -> bool:
        value = self.velocity[axis]
        return isinstance(value, (Tensor, nn.Module)) or value != 0

    def forward(self, x: Tensor) -> Tensor:
        """The field at the end; ``x`` as for :meth:`SpectralOperator.forward`."""
        check_fields([x])
        dims = normalise_dims(self.heat.dims, x.ndim)
        sizes = check_sizes([x.shape[d] for d in dims], "transformed sizes")
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        grid = Grid(sizes, dtype, x.device, pooled=lambda: pool(x, dims))
        with no_autocast(x.device.type):
            gain, turns = self._rates(grid, dims)

        def turn(spectrum: Tensor) -> Tensor:
            for dim, cos, sin, partners in turns:
                cos, sin = (align(part, x, dims).to(spectrum.dtype) for part in (cos, sin))
                spectrum = cos * spectrum + sin * spectrum.index_select(dim, partners)
            return spectrum

        return apply_gains([x], [[gain]], dims, sizes, self.heat.boundary, turn=turn)[0]

    def _rates(self, grid: Grid, dims: tuple[int, ...]) -> tuple[Tensor, list[tuple[int, Tensor, Tensor, Tensor]]]:
        """The gain, and for each dimension that moves the factors of a mode and of its partner, and which that is."""
        count, turns = len(dims), []
        eigenvalues, quantities = self.heat._evaluate(grid)
        quantities["velocity"] = self.velocity(grid)
        for name, value in quantities.items():
            for axis, each in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
                if any(size != 1 for size in each.shape[-count - 1 : -1]):
                    label = name if axis is None else f"{name}[{axis}]"
                    raise ValueError(f"{label} must not differ between modes, got shape {tuple(each.shape)}")
        velocities, time = quantities.pop("velocity"), quantities["time"]
        gain = drop_channel(self.heat.multiplier(eigenvalues, **quantities), count)
        for axis, (n, velocity) in enumerate(zip(grid.sizes, velocities, strict=True)):
            if not self._moves(axis):
                continue
            spacing = self.heat.spacing[axis] if isinstance(self.heat.spacing, tuple) else self.heat.spacing
            order = torch.arange(n, device=grid.device)
            shape = [-1 if i == axis else 1 for i in range(count + 1)]
            length = torch.full((), n, dtype=grid.dtype, device=grid.device)  # ONNX has no symbolic quotient
            waves = half_waves("fourier", n, grid.dtype, grid.device) * (math.pi / length)
            # Once round is nowhere, and what is left is exact where the angle of a long way is not.
            cells = torch.remainder(velocity * time / spacing, length)
            partners = order - 1 + 2 * (order % 2)  # cosines have odd places, and the sine is the next
            paired = (partners >= 0) & (partners < n)
            signs = torch.where(paired, 1 - 2 * (order % 2), 0).to(grid.dtype)
            angle = waves.view(shape) * cells
            cos, sin = (drop_channel(part, count) for part in (torch.cos(angle), torch.sin(angle) * signs.view(shape)))
            turns.append((dims[axis], cos, sin, partners.clamp(0, n - 1)))
        return gain, turns

    def __repr__(self) -> str:
        heat = repr(self.heat).removeprefix("Heat(").replace(", boundary='periodic'", "")
        if self.heat.boundary == "neumann":  # what Heat does not say, for it is its default
            heat = f"{heat.removesuffix(')')}, boundary='neumann')"
        return f"Advection(velocity={self.velocity!r}, {heat}"
