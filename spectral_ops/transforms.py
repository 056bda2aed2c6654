r"""Orthonormal discrete cosine, sine and real Fourier transforms.

Convention (pinned by tests against ``scipy.fft.dctn(x, type=2, norm="ortho")``): with :math:`s_0 = \sqrt{1/N}` and
:math:`s_k = \sqrt{2/N}`,

.. math::  X_k = s_k \sum_{n=0}^{N-1} x_n \cos\frac{\pi k (2n+1)}{2N}, \qquad
           x_n = \sum_{k=0}^{N-1} s_k X_k \cos\frac{\pi k (2n+1)}{2N}.

The forward transform is the DCT-II and the inverse its transpose, the DCT-III. The sine transforms DST-II and DST-III
have :math:`s_k \sin(\pi k (2n+1) / 2N)` with k = 1..N and the factor :math:`\sqrt{1/N}` on the last mode.

The real Fourier transform of a periodic axis has the constant, then :math:`\sqrt{2/N} \cos(2 \pi k n / N)` and
:math:`\sqrt{2/N} \sin(2 \pi k n / N)` for k = 1, 2, ..., and for even N at last :math:`\sqrt{1/N} (-1)^n`: real and
minus imaginary parts of ``numpy.fft.rfft(x, norm="ortho")``, times :math:`\sqrt 2` where there are both.

On the sizes of feature maps a plain matrix product beats an FFT by a wide margin, works in every float dtype, traces,
and on channels-last tensors needs no copy: the basis multiplies from the left. The FFT pays for long dimensions.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from spectral_ops._checks import check_dtype, check_floating, check_sizes, normalise_dims
from spectral_ops._constants import constant, exactly, tracing
from spectral_ops._kernels import SETTINGS, Backend
from spectral_ops.boundaries import Kind, half_waves

__all__ = ["BACKENDS", "Backend", "cosine_basis", "dct", "dctn", "dst", "dstn", "fourier_basis", "idct", "idctn"]
__all__ += ["idst", "idstn", "irdftn", "rdftn", "sine_basis"]

BACKENDS: tuple[Backend, ...] = get_args(Backend)

#: A product along a dimension more than this many times as long as all that lies behind it is slow; then the dimension
#: is moved to the end first.
SLENDER = 32


@constant
def _basis(kind: Kind, n: int, modes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # The angle is reduced in exact integers to a quarter turn from the sine's zero, r / n of it, so that float32 is
    # enough in graphs. ONNX has no remainder or root of a symbolic number, hence the tensor `period`.
    exact, where = exactly(dtype, device)
    period = torch.full((), 4 * n, dtype=torch.int64, device=where)
    wave = half_waves(kind, modes, torch.int64, where)
    at_centres, sines = 1, torch.full((1,), int(kind == "sine"), dtype=torch.int64, device=where)
    if kind == "fourier":  # sampled from 0 on, as by every FFT; the modes are 1, cos, sin, cos, sin, ...
        order = torch.arange(modes, device=where)
        at_centres, sines = 0, ((order > 0) & (order % 2 == 0)).to(order.dtype)
    samples = 2 * torch.arange(n, device=where) + at_centres
    phase = torch.outer(wave, samples) - sines[:, None] * n  # a sine is a cosine a quarter later
    phase = phase % period
    r = n - torch.minimum(phase, period - phase)
    basis: Tensor = torch.sin(r.to(exact) * (2 * math.pi / period.to(exact))) * (8 / period.to(exact)).sqrt()
    edge = 1 - (1 - math.sqrt(0.5)) * (4 * wave % period == 0).to(exact)  # the constant, and the mode that alternates
    return (basis * edge[:, None]).to(dtype).to(device)


def cosine_basis(
    n: int, modes: int | None = None, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Tensor:
    """The orthonormal DCT-II matrix, ``(modes, n)``: row ``k`` is the ``k``-th cosine sampled at cell centres.

    Built in float64 and then cast, which keeps it orthogonal to rounding (a float32 build loses three digits at
    n = 1024).

    Args:
        n: Number of samples.
        modes: Number of lowest modes to keep, ``1 <= modes <= n``; all by default.
        dtype: A float dtype.
        device: Where to put it.

    Example:
        >>> basis = cosine_basis(8, dtype=torch.float64)
        >>> bool(torch.allclose(basis @ basis.T, torch.eye(8, dtype=torch.float64)))
        True
    """
    return _checked_basis("cosine", n, modes, dtype, device)


def sine_basis(
    n: int, modes: int | None = None, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Tensor:
    """The orthonormal DST-II matrix, ``(modes, n)``: row ``k`` is sine number ``k + 1``. See :func:`cosine_basis`."""
    return _checked_basis("sine", n, modes, dtype, device)


def fourier_basis(
    n: int, modes: int | None = None, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Tensor:
    """The orthonormal real Fourier matrix, ``(modes, n)``: 1, cos, sin, cos, sin, ... See :func:`cosine_basis`.

    Example:
        >>> fourier_basis(4)
        tensor([[ 0.5000,  0.5000,  0.5000,  0.5000],
                [ 0.7071,  0.0000, -0.7071,  0.0000],
                [ 0.0000,  0.7071,  0.0000, -0.7071],
                [ 0.5000, -0.5000,  0.5000, -0.5000]])
    """
    return _checked_basis("fourier", n, modes, dtype, device)


def _checked_basis(kind: Kind, n: int, modes: int | None, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    check_dtype(dtype)
    (n,), (modes,) = _per_dim(n, 1, "n"), _per_dim(n if modes is None else modes, 1, "modes")
    if not _fits((n,), (modes,)):
        raise ValueError(f"modes must be between 1 and the size n={n}, got {modes}")
    return _basis(kind, n, modes, dtype, torch.device(device)).clone()


def _matmul_along(x: Tensor, matrix: Tensor, dim: int) -> Tensor:
    """Contract dimension ``dim`` of ``x`` with the columns of ``matrix``; the trailing dimensions ride along."""
    if dim == x.ndim - 1:
        return torch.matmul(x, matrix.transpose(-2, -1))
    tail = x.shape[dim + 1 :]
    if all(isinstance(n, int) for n in (x.shape[dim], *tail)) and SLENDER * math.prod(tail) < x.shape[dim]:
        return torch.matmul(x.movedim(dim, -1), matrix.transpose(-2, -1)).movedim(-1, dim)
    if len(tail) == 1:
        return torch.matmul(matrix, x)
    return torch.unflatten(torch.matmul(matrix, x.flatten(dim + 1)), -1, tail)


def _per_dim(value: int | Sequence[int], count: int, name: str) -> tuple[int, ...]:
    result = check_sizes(value, name)
    if len(result) != count:
        raise ValueError(f"{name} must give one int for each of {count} dimension(s), got {value!r}")
    return result


def _fits(sizes: tuple[int, ...], modes: tuple[int, ...]) -> bool:
    """Whether there are no more modes than samples; symbolic sizes pass, so that they are not specialised."""
    return all(m <= n for n, m in zip(sizes, modes, strict=True) if isinstance(n, int) and isinstance(m, int))


def _takes_fft(kind: Kind, backend: Backend, x: Tensor, n: int) -> bool:
    """Whether a dimension of ``n`` samples goes through an FFT. Traced graphs keep to products unless told."""
    if backend == "auto":
        backend = SETTINGS.transform
    if backend == "auto":
        start = SETTINGS.fft_from.get(x.device.type)
        if start is None or tracing() or not x.numel():
            return False
        real = kind == "fourier"  # torch's own, without the detours of cosines, pays on half the size
        return n * (2 if real else 1) >= start and _has_fft(kind)
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
    chosen = backend == "fft" and x.numel() > 0  # else there is nothing to compute, and torch-dct cannot view it
    if chosen and not _has_fft(kind):
        raise ModuleNotFoundError("backend='fft' needs torch-dct: pip install torch-dct, or use backend='matmul'")
    return chosen


def _has_fft(kind: Kind) -> bool:
    return kind == "fourier" or _has_torch_dct()  # torch has one of its own for circles


def _has_torch_dct() -> bool:
    return importlib.util.find_spec("torch_dct") is not None


def _analyse(
    kind: Kind, x: Tensor, dims: int | Sequence[int], modes: int | Sequence[int] | None, backend: Backend
) -> Tensor:
    check_floating(x)
    dims = normalise_dims(dims, x.ndim)
    sizes = check_sizes([x.shape[d] for d in dims], "transformed sizes")
    kept = sizes if modes is None else _per_dim(modes, len(dims), "modes")
    if not _fits(sizes, kept):
        raise ValueError(f"modes must be at most the transformed sizes {sizes}, got {kept}")
    return transform((kind,) * len(dims), x, dims, kept, backend)


def _synthesise(
    kind: Kind, x: Tensor, dims: int | Sequence[int], sizes: int | Sequence[int] | None, backend: Backend
) -> Tensor:
    check_floating(x)
    dims = normalise_dims(dims, x.ndim)
    modes = check_sizes([x.shape[d] for d in dims], "transformed sizes")
    samples = modes if sizes is None else _per_dim(sizes, len(dims), "sizes")
    if not _fits(samples, modes):
        raise ValueError(f"sizes must be at least the number of modes {modes}, got {samples}")
    return transform((kind,) * len(dims), x, dims, samples, backend, inverse=True)


def transform(
    kinds: Sequence[Kind],
    x: Tensor,
    dims: tuple[int, ...],
    sizes: tuple[int, ...],
    backend: Backend,
    *,
    inverse: bool = False,
) -> Tensor:
    """The transforms of this module without their checks: one along each of ``dims``, none negative, to ``sizes``."""
    y = x
    for kind, dim, size in zip(kinds, dims, sizes, strict=True):
        before = x.shape[dim]
        if _takes_fft(kind, backend, x, size if inverse else before):
            from spectral_ops import _fft

            y = (_fft.synthesise if inverse else _fft.analyse)(kind, y, dim, size)
        elif inverse:
            y = _matmul_along(y, _basis(kind, size, before, x.dtype, x.device).transpose(-2, -1), dim)
        else:
            y = _matmul_along(y, _basis(kind, before, size, x.dtype, x.device), dim)
    return y.to(x.dtype)


def dctn(
    x: Tensor,
    dims: int | Sequence[int] = (-2, -1),
    *,
    modes: int | Sequence[int] | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Orthonormal DCT-II over ``dims``; the numbers of ``scipy.fft.dctn(x, type=2, norm="ortho")``.

    Args:
        x: Real floating-point tensor of any shape, contiguous or not.
        dims: The dimensions to transform.
        modes: Keep only this many of the lowest modes along each of ``dims`` (rectangular bases, no zero-padding).
        backend: ``"matmul"``; ``"fft"`` through torch-dct, which computes float16 and bfloat16 in float32; or
            ``"auto"``, the product below 1,024 samples and while a graph is traced (:class:`~spectral_ops.use_kernels`
            changes that).

    Returns:
        The spectrum, in the dtype of ``x``. Under autocast the products run in the autocast dtype.

    Raises:
        TypeError: ``x`` is not a real floating-point tensor, or ``dims`` are not ints.
        ValueError: ``dims`` repeat or are out of range, a transformed size is 0, ``modes`` do not fit, or the backend
            is unknown.
        ModuleNotFoundError: The FFT was asked for and torch-dct is not installed.

    Example:
        >>> x = torch.randn(2, 3, 14, 20)
        >>> dctn(x).shape, dctn(x, modes=(4, 5)).shape
        (torch.Size([2, 3, 14, 20]), torch.Size([2, 3, 4, 5]))
        >>> bool(torch.allclose(idctn(dctn(x)), x, atol=1e-5))
        True
    """
    return _analyse("cosine", x, dims, modes, backend)


def idctn(
    x: Tensor,
    dims: int | Sequence[int] = (-2, -1),
    *,
    sizes: int | Sequence[int] | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Inverse of :func:`dctn`: the orthonormal DCT-III over ``dims``.

    Args:
        x: Spectrum, a real floating-point tensor.
        dims: The dimensions to transform.
        sizes: Number of samples to synthesise along each of ``dims``; by default as many as there are modes. Larger
            sizes put the same orthonormal modes on a finer grid (which keeps the norm, not the pointwise values).
        backend: As :func:`dctn`.

    Returns:
        The field, in the dtype of ``x``.

    Raises:
        TypeError, ValueError: As :func:`dctn`; also where ``sizes`` are below the number of modes.

    Example:
        >>> spectrum = torch.randn(2, 3, 4, 5)
        >>> idctn(spectrum, sizes=(14, 20)).shape
        torch.Size([2, 3, 14, 20])
    """
    return _synthesise("cosine", x, dims, sizes, backend)


def dstn(
    x: Tensor,
    dims: int | Sequence[int] = (-2, -1),
    *,
    modes: int | Sequence[int] | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Orthonormal DST-II over ``dims``, the numbers of ``scipy.fft.dstn(x, type=2, norm="ortho")``; see :func:`dctn`.

    Example:
        >>> x = torch.randn(2, 3, 14, 20)
        >>> bool(torch.allclose(idstn(dstn(x)), x, atol=1e-5))
        True
    """
    return _analyse("sine", x, dims, modes, backend)


def idstn(
    x: Tensor,
    dims: int | Sequence[int] = (-2, -1),
    *,
    sizes: int | Sequence[int] | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Inverse of :func:`dstn`: the orthonormal DST-III over ``dims``; see :func:`idctn`."""
    return _synthesise("sine", x, dims, sizes, backend)


def rdftn(
    x: Tensor,
    dims: int | Sequence[int] = (-2, -1),
    *,
    modes: int | Sequence[int] | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Orthonormal real discrete Fourier transform over ``dims``, as real as its input; see :func:`dctn`.

    The numbers are those of an FFT, ordered as in ``scipy.fftpack.rfft``: 1, cos, sin, cos, sin, ... along each axis,
    so that the lowest modes are the first ones and ``modes`` keeps them. The FFT is torch's own.

    Example:
        >>> x = torch.randn(2, 3, 14, 21)
        >>> rdftn(x).shape, bool(torch.allclose(irdftn(rdftn(x)), x, atol=1e-5))
        (torch.Size([2, 3, 14, 21]), True)
    """
    return _analyse("fourier", x, dims, modes, backend)


def irdftn(
    x: Tensor,
    dims: int | Sequence[int] = (-2, -1),
    *,
    sizes: int | Sequence[int] | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Inverse of :func:`rdftn`, its transpose; see :func:`idctn`."""
    return _synthesise("fourier", x, dims, sizes, backend)


def dct(x: Tensor, dim: int = -1, *, modes: int | None = None, backend: Backend = "auto") -> Tensor:
    """One-dimensional :func:`dctn`."""
    return dctn(x, (dim,), modes=modes, backend=backend)


def idct(x: Tensor, dim: int = -1, *, size: int | None = None, backend: Backend = "auto") -> Tensor:
    """One-dimensional :func:`idctn`."""
    return idctn(x, (dim,), sizes=size, backend=backend)


def dst(x: Tensor, dim: int = -1, *, modes: int | None = None, backend: Backend = "auto") -> Tensor:
    """One-dimensional :func:`dstn`."""
    return dstn(x, (dim,), modes=modes, backend=backend)


def idst(x: Tensor, dim: int = -1, *, size: int | None = None, backend: Backend = "auto") -> Tensor:
    """One-dimensional :func:`idstn`."""
    return idstn(x, (dim,), sizes=size, backend=backend)
