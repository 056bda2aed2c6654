"""How gains are applied: transform, multiply, transform back, for one field or several."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.amp.autocast_mode import is_autocast_available

from spectral_ops import _fused
from spectral_ops._checks import check_floating, check_sizes, normalise_dims
from spectral_ops._kernels import SETTINGS, Backend
from spectral_ops.boundaries import KINDS, Boundaries, one_per_axis
from spectral_ops.transforms import transform

__all__ = ["align", "apply_gain", "apply_gains", "check_fields", "no_autocast", "product_dtype", "superpose"]


def no_autocast(device_type: str) -> contextlib.AbstractContextManager[object]:
    """Leave autocast, but only where it is on, so that traced graphs stay free of the context."""
    # Dynamo cannot trace the query for availability, and never compiles for a device without autocast.
    available = torch.compiler.is_compiling() or is_autocast_available(device_type)
    if available and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which products of ``x`` run: its own or autocast's."""
    device = x.device.type
    available = torch.compiler.is_compiling() or is_autocast_available(device)
    if available and torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return x.dtype


def apply_gain(
    x: Tensor,
    gain: Tensor,
    dims: int | Sequence[int] = (-2, -1),
    *,
    boundary: Boundaries = "neumann",
    backend: Backend = "auto",
) -> Tensor:
    """Transform, multiply by a gain, transform back: ``idctn(dctn(x) * gain)``.

    Args:
        x: Input of any shape. Its channel dimension is the last one not in ``dims``.
        gain: ``(*sizes)``, ``(*sizes, C)`` or, different for each sample, ``(B, *sizes, C)``; a size of 1 broadcasts.
        dims: The spatial dimensions.
        boundary: ``"neumann"`` for cosines, ``"dirichlet"`` for sines, ``"periodic"`` for both; one, or one for each of
            ``dims``.
        backend: See :func:`~spectral_ops.transforms.dctn`.

    Returns:
        Tensor like ``x``.

    Example:
        >>> apply_gain(torch.randn(2, 3, 8, 8), torch.ones(8, 8, 3)).shape
        torch.Size([2, 3, 8, 8])
    """
    return superpose([(x, gain)], dims, boundary=boundary, backend=backend)


def superpose(
    terms: Sequence[tuple[Tensor, Tensor]],
    dims: int | Sequence[int] = (-2, -1),
    *,
    boundary: Boundaries = "neumann",
    backend: Backend = "auto",
) -> Tensor:
    """The sum of several fields, each multiplied by its own gain, with one inverse transform for all.

    Args:
        terms: Pairs of a field and its gain, as in :func:`apply_gain`; the fields have one shape and dtype.
        dims, boundary, backend: As in :func:`apply_gain`.

    Raises:
        ValueError: The fields differ in shape or dtype.

    Example:
        >>> u, v = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
        >>> superpose([(u, torch.ones(8, 8)), (v, torch.zeros(8, 8))]).shape
        torch.Size([2, 3, 8, 8])
    """
    if not terms:
        raise ValueError("terms must hold at least one pair of field and gain")
    fields, gains = zip(*terms, strict=True)
    check_fields(fields)
    over = normalise_dims(dims, fields[0].ndim)
    sizes = check_sizes([fields[0].shape[d] for d in over], "transformed sizes")
    return apply_gains(fields, [gains], over, sizes, boundary, backend)[0]


def check_fields(fields: Sequence[Tensor]) -> None:
    x = fields[0]
    for field in fields:
        check_floating(field)
        if field.shape != x.shape or field.dtype != x.dtype:
            raise ValueError(
                f"fields must share shape and dtype, got {tuple(x.shape)} {x.dtype} and {tuple(field.shape)} "
                f"{field.dtype}"
            )


def apply_gains(
    fields: Sequence[Tensor],
    rows: Sequence[Sequence[Tensor]],
    dims: tuple[int, ...],
    sizes: tuple[int, ...],
    boundary: Boundaries,
    backend: Backend = "auto",
    *,
    turn: Callable[[Tensor], Tensor] | None = None,
) -> list[Tensor]:
    """For each row of gains the sum of the fields times them; one forward transform per field, an inverse per row.

    Gains are checked here; fields and their ``dims``, none negative, of ``sizes``, were. ``turn`` is what happens to a
    spectrum that no gain does.
    """
    x = fields[0]
    kinds = [KINDS[each] for each in one_per_axis(boundary, len(dims))]
    products = product_dtype(x)
    if SETTINGS.fused and backend == SETTINGS.transform == "auto" and len(fields) == len(rows) == 1 and not turn:
        gain = align(rows[0][0], x, dims)
        if _fused.fits(x, gain, dims, products):
            return [_fused.apply(x, gain[0], kinds, products)]
    half = products == torch.float16
    spectra = [transform(kinds, field, dims, sizes, backend) for field in fields]
    if half:  # a gain and the amplitudes it gives may be beyond float16 where the field is not, as Poisson's low modes
        spectra = [spectrum.float() for spectrum in spectra]
    results = []
    for gains in rows:
        total = None
        for spectrum, gain in zip(spectra, gains, strict=True):
            term = spectrum * align(gain, x, dims).to(spectrum.dtype)
            total = term if total is None else total + term
        assert total is not None
        total = total if turn is None else turn(total)
        with no_autocast(x.device.type) if half else contextlib.nullcontext():
            results.append(transform(kinds, total, dims, sizes, backend, inverse=True).to(x.dtype))
    return results


def align(gain: Tensor, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """View a gain ``([B,] *sizes [, C])`` so that it broadcasts against ``x``."""
    check_floating(gain, "gain")
    k = len(dims)
    others = [d for d in range(x.ndim) if d not in dims]
    layout = {k: list(dims), k + 1: [*dims, *others[-1:]], k + 2: [*others[:1], *dims, *others[-1:]]}.get(gain.ndim, [])
    if len(layout) != gain.ndim or len(set(layout)) != len(layout):
        raise ValueError(
            f"gain must have shape (*sizes), (*sizes, C) or (B, *sizes, C) for a {x.ndim}-dimensional input "
            f"transformed over {dims}, got {tuple(gain.shape)}"
        )
    for size, d in zip(gain.shape, layout, strict=True):
        if size != 1 and size != x.shape[d]:  # not `in`, which fails on symbolic sizes
            raise ValueError(
                f"gain of shape {tuple(gain.shape)} does not broadcast to an input of shape {tuple(x.shape)} "
                f"transformed over dims {dims}: {size} against {x.shape[d]} in dimension {d}"
            )
    if layout != sorted(layout):
        gain = gain.permute(sorted(range(len(layout)), key=layout.__getitem__))
    missing = [d for d in range(x.ndim) if d not in layout]
    for d in missing:
        gain = gain.unsqueeze(d)
    return gain
