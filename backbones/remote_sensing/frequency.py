"""Images split into frequency bands by the cosine transform."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spectral_ops import dctn, idctn
from spectral_ops.apply import no_autocast
from spectral_ops.scalars import as_float

__all__ = ["BandRule", "ConstantMode", "Padding", "frequency_bands", "modes_below", "squared_radius"]

BandRule = Literal["radius", "area"]
ConstantMode = Literal["low", "both"]
Padding = Literal["power-of-two"]


def squared_radius(sizes: tuple[int, int]) -> Tensor:
    r"""The squared radius of every cosine mode of a grid, from 0 to almost 1: float64, on the CPU.

    .. math::  \rho_{uv}^2 = \tfrac12 \left(\frac{u^2}{H^2} + \frac{v^2}{W^2}\right)

    Args:
        sizes: ``(H, W)``.
    """
    rows, columns = (torch.arange(n, dtype=torch.float64, device="cpu").div(n).square() for n in sizes)
    return (rows[:, None] + columns) / 2


def frequency_bands(
    image: Tensor,
    edges: Sequence[float],
    rule: BandRule = "radius",
    constant: ConstantMode = "low",
    pad: Padding | None = None,
) -> tuple[Tensor, ...]:
    r"""Split images into bands of the orthonormal 2-D DCT, each an image again.

    With :math:`\rho_{uv} = \sqrt{(u^2/H^2 + v^2/W^2)/2}`, the radius of a mode relative to the corner of the spectrum,
    band i holds the modes of :math:`e_{i-1} \le \rho < e_i`, where :math:`e_{-1} = 0` and the last has no upper edge.
    All bands but the lowest have zero mean, so they must not be clipped to the range of images.

    Args:
        image: ``(B, C, H, W)``, of floating point; any sizes, any number of channels.
        edges: Between the bands, ascending, each between 0 and 1; n edges make n + 1 bands.
        rule: ``"radius"``: edges are radii :math:`\rho`. ``"area"``: they are the shares of modes below them, so that
            ``[0.25]`` puts a quarter of the coefficients into the lower band; modes of equal radius stay together, in
            the band above where the edge falls among them.
        constant: ``"low"``: the constant mode is in the lowest band, and the bands sum to the image. ``"both"``: it is
            in every band, and modes on an edge are in both bands beside it, as published: the bands sum to the image
            plus (bands - 1) times that.
        pad: None, or ``"power-of-two"``, as published: zeros at the bottom and at the right up to powers of two, and
            the radius there is D / R with :math:`D^2 = u^2 + v^2` and :math:`R^2 = H^2 + W^2`, the same on squares. The
            bands are cut back to the image.

    Returns:
        The bands, lowest first, of the shape and type of the image. They are computed in float32 at least, also under
        autocast.

    Raises:
        TypeError: ``image`` is not of floating point.
        ValueError: An argument does not fit.

    Example:
        >>> image = torch.rand(2, 5, 20, 30, generator=torch.Generator().manual_seed(0))
        >>> low, middle, high = frequency_bands(image, [0.1, 0.5])
        >>> bool(torch.allclose(low + middle + high, image, atol=1e-6)), bool(high.mean().abs() < 1e-6)
        (True, True)
    """
    if not isinstance(image, Tensor) or not image.is_floating_point():
        raise TypeError(f"image must be a tensor of floating point, got {getattr(image, 'dtype', type(image))}")
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"image must have shape (B, C, H, W), got {tuple(image.shape)}")
    given = edges.tolist() if isinstance(edges, np.ndarray) else edges
    given = list(given) if isinstance(given, Sequence) else [given]
    edges = [as_float(edge) for edge in given]
    inside = all(edge is not None and 0 < edge < 1 for edge in edges)
    if not edges or not inside or any(b <= a for a, b in itertools.pairwise(edges)):
        raise ValueError(f"edges must be ascending numbers between 0 and 1, got {given}")
    for name, given, accepted in (
        ("rule", rule, get_args(BandRule)),
        ("constant", constant, get_args(ConstantMode)),
        ("pad", pad, (None, *get_args(Padding))),
    ):
        if given not in accepted:
            raise ValueError(f"{name} must be one of {accepted}, got {given!r}")
    height, width = image.shape[2:]
    working = image.to(torch.promote_types(image.dtype, torch.float32))
    if pad is not None:
        working = F.pad(working, [0, _power_of_two(width) - width, 0, _power_of_two(height) - height])
    sizes = (working.shape[2], working.shape[3])
    radius = squared_radius(sizes) if pad is None else _published(sizes)  # not every device has float64
    with no_autocast(image.device.type):
        spectrum = dctn(working, dims=(-2, -1))
        masks = _masks(radius, edges, rule, both=constant == "both")
        bands = [idctn(spectrum * mask.to(spectrum), dims=(-2, -1)) for mask in masks]
    return tuple(band[..., :height, :width].to(image.dtype) for band in bands)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def _published(sizes: tuple[int, int]) -> Tensor:
    """``(D / R)^2`` of every mode."""
    rows, columns = (torch.arange(n, dtype=torch.float64, device="cpu").square() for n in sizes)
    return (rows[:, None] + columns) / (sizes[0] ** 2 + sizes[1] ** 2)


def _radii_of_shares(radius: Tensor, shares: Sequence[float]) -> list[float]:
    """The squared radii below which these shares of the modes are."""
    ordered = radius.flatten().sort().values
    return [ordered[min(round(share * len(ordered)), len(ordered) - 1)].item() for share in shares]


def modes_below(radius: Tensor, shares: Tensor) -> Tensor:
    """The lowest band of each of several splits by share of modes, as :func:`frequency_bands` makes it.

    Args:
        radius: Of :func:`squared_radius`, ``(H, W)``.
        shares: ``(N,)``.

    Returns:
        Bool, ``(N, H, W)``; the constant mode is always in.
    """
    bounds = torch.tensor(_radii_of_shares(radius, shares.tolist()), dtype=radius.dtype, device=radius.device)
    below = radius < bounds[:, None, None]
    below[:, 0, 0] = True
    return below


def _masks(radius: Tensor, edges: Sequence[float], rule: BandRule, *, both: bool) -> list[Tensor]:
    """Which modes each band has."""
    bounds = [edge**2 for edge in edges] if rule == "radius" else _radii_of_shares(radius, edges)
    masks = []
    for low, high in itertools.pairwise([None, *bounds, None]):
        mask = torch.ones_like(radius, dtype=torch.bool)
        if low is not None:
            mask &= radius >= low
        if high is not None:
            mask &= radius <= high if both else radius < high
        masks.append(mask)
    masks[0][0, 0] = True  # also where an edge is below the lowest other mode
    for mask in masks[1:]:
        mask[0, 0] = both
    return masks
