"""One dimension of a transform through FFTs: torch-dct's for cosines and sines, torch's own on periodic axes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from spectral_ops.boundaries import Kind

__all__ = ["analyse", "synthesise"]


def _alternating(x: Tensor) -> Tensor:
    """``x`` with every other sample of its last dimension negated: it turns the sine transform into the cosine's."""
    signs = torch.ones(x.shape[-1], dtype=x.dtype, device=x.device)
    signs[1::2] = -1
    return x * signs


def _single(x: Tensor, dim: int) -> Tensor:
    """``x`` with ``dim`` last, in a dtype that has an FFT."""
    return x.movedim(dim, -1).to(x.dtype if x.dtype == torch.float64 else torch.float32)


def _norms(x: Tensor) -> Tensor:
    """How much larger than numpy's the amplitudes of the last dimension are: it has two where there is one here."""
    n = x.shape[-1]
    norms = torch.full((n,), math.sqrt(2), dtype=x.dtype, device=x.device)
    norms[:: max(n - 1, 1) if n % 2 == 0 else n] = 1  # the constant, and for even n the one that alternates
    return norms


def _packed(x: Tensor) -> Tensor:
    """The real Fourier transform of the last dimension, its parts in a row without those that are always 0."""
    z = torch.fft.rfft(x, norm="ortho")
    y = torch.stack([z.real, -z.imag], -1).flatten(-2)
    return torch.cat([y[..., :1], y[..., 2 : x.shape[-1] + 1]], -1) * _norms(x)


def _unpacked(y: Tensor) -> Tensor:
    """Its inverse."""
    n = y.shape[-1]
    mean, others = (y / _norms(y)).tensor_split([1], -1)
    none = torch.zeros_like(mean)
    z = torch.cat([mean, none, others] if n % 2 else [mean, none, others, none], -1)
    x: Tensor = torch.fft.irfft(torch.complex(z[..., ::2], -z[..., 1::2]), n=n, norm="ortho")
    return x


def analyse(kind: Kind, x: Tensor, dim: int, modes: int) -> Tensor:
    """The lowest ``modes`` coefficients of ``dim``."""
    y: Tensor = _single(x, dim)
    if kind == "fourier":
        return _packed(y)[..., :modes].movedim(-1, dim).to(x.dtype)
    import torch_dct  # type: ignore[import-untyped]

    y = torch_dct.dct(y if kind == "cosine" else _alternating(y), norm="ortho")
    y = y if kind == "cosine" else y.flip(-1)
    return y[..., :modes].movedim(-1, dim).to(x.dtype)


def synthesise(kind: Kind, x: Tensor, dim: int, size: int) -> Tensor:
    """``size`` samples of ``dim`` from its coefficients; the modes not given are zero."""
    y: Tensor = _single(x, dim)
    y = F.pad(y, (0, size - y.shape[-1]))
    if kind == "fourier":
        return _unpacked(y).movedim(-1, dim).to(x.dtype)
    import torch_dct

    y = torch_dct.idct(y if kind == "cosine" else y.flip(-1), norm="ortho")
    y = y if kind == "cosine" else _alternating(y)
    return y.movedim(-1, dim).to(x.dtype)
