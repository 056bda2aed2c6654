r"""Eigenvalues of the negative Laplacian on a rectangle, each of its axes between walls or periodic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from spectral_ops._checks import check_dtype, check_quantity, check_sizes
from spectral_ops._constants import constant, exactly
from spectral_ops.boundaries import KINDS, Boundaries, Boundary, half_waves, one_per_axis

__all__ = ["LAPLACIANS", "Laplacian", "laplacian_eigenvalues"]

Laplacian = Literal["spectral", "finite-difference"]
LAPLACIANS: tuple[Laplacian, ...] = ("spectral", "finite-difference")


@constant
def _eigenvalues(
    spacing: tuple[float, ...],
    laplacian: Laplacian,
    boundaries: tuple[Boundary, ...],
    dtype: torch.dtype,
    device: torch.device,
    *sizes: int,
) -> Tensor:
    exact, where = exactly(dtype, device)
    total = torch.zeros((), dtype=exact, device=where)
    for axis, (n, h, boundary) in enumerate(zip(sizes, spacing, boundaries, strict=True)):
        length = torch.full((), n, dtype=exact, device=where)  # ONNX has no quotient of a symbolic number in torch 2.6
        theta = half_waves(KINDS[boundary], n, exact, where) * (math.pi / length)
        values = theta.square() if laplacian == "spectral" else (2 * torch.sin(theta / 2)).square()
        total = total + (values / h**2).view([-1] + [1] * (len(sizes) - 1 - axis))
    return total.to(dtype).to(device)


def laplacian_eigenvalues(
    sizes: int | Sequence[int],
    *,
    spacing: float | Sequence[float] = 1.0,
    laplacian: Laplacian = "spectral",
    boundary: Boundaries = "neumann",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    r"""Eigenvalue :math:`\lambda \ge 0` of :math:`-\nabla^2` for each mode of a grid.

    .. math::  \lambda_{nm} = \Big(\frac{\pi n}{H h_y}\Big)^2 + \Big(\frac{\pi m}{W h_x}\Big)^2,
               \qquad n = 0 \dots H-1,\; m = 0 \dots W-1,

    in units of 1 / length squared, for the cosine modes; the sine modes of ``boundary="dirichlet"`` have
    :math:`n = 1 \dots H` and so on, and the modes of ``boundary="periodic"``, the constant and then a cosine and a sine
    of each frequency, :math:`n = 0, 2, 2, 4, 4 \dots`: a wave is two half waves, and :math:`\pi n / H = 2 \pi k / H`.
    ``laplacian="finite-difference"`` gives :math:`(2 - 2\cos(\pi n / H)) / h^2` per axis, the exact eigenvalue of the
    three-point stencil whose ends are mirrored (Neumann), mirrored with the opposite sign (Dirichlet) or neighbours of
    each other (periodic).

    Args:
        sizes: Number of cells along each axis.
        spacing: Cell size, one number or one per axis.
        laplacian: ``"spectral"`` or ``"finite-difference"``.
        boundary: ``"neumann"`` (no flux through the walls, cosines), ``"dirichlet"`` (zero at the walls, sines) or
            ``"periodic"`` (the ends meet, cosines and sines); one for all axes or one per axis.
        dtype: Of the result; the computation is in float64, on the CPU.
        device: Of the result.

    Returns:
        Tensor of shape ``sizes``.

    Example:
        >>> laplacian_eigenvalues((2, 3))
        tensor([[0.0000, 1.0966, 4.3865],
                [2.4674, 3.5640, 6.8539]])
    """
    check_dtype(dtype)
    sizes = check_sizes(sizes)
    try:
        spacings = tuple(map(float, spacing)) if isinstance(spacing, Sequence) else (float(spacing),) * len(sizes)
    except (TypeError, ValueError):
        raise TypeError(f"spacing must be one number or one per axis, got {spacing!r}") from None
    if len(spacings) != len(sizes):
        raise ValueError(f"spacing must be one number or one per axis, {len(sizes)} in all, got {spacings}")
    for axis, h in enumerate(spacings):
        check_quantity(f"spacing[{axis}]" if isinstance(spacing, Sequence) else "spacing", h, 0.0, strict=True)
    if laplacian not in LAPLACIANS:
        raise ValueError(f"laplacian must be one of {LAPLACIANS}, got {laplacian!r}")
    boundaries = one_per_axis(boundary, len(sizes))
    return _eigenvalues(spacings, laplacian, boundaries, dtype, torch.device(device), *sizes).clone()
