"""One dimension of a cosine or sine transform through torch-dct's FFTs."""

from __future__ import annotations

import torch
import torch_dct  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional as F

__all__ = ["analyse", "synthesise"]


def _alternating(x: Tensor) -> Tensor:
    """``x`` with every other sample of its last dimension negated: it turns the sine transform into the cosine's."""
    signs = torch.ones(x.shape[-1], dtype=x.dtype, device=x.device)
    signs[1::2] = -1
    return x * signs


def _single(x: Tensor, dim: int) -> Tensor:
    """``x`` with ``dim`` last, in a dtype that has an FFT."""
    return x.movedim(dim, -1).to(x.dtype if x.dtype == torch.float64 else torch.float32)


def analyse(kind: str, x: Tensor, dim: int, modes: int) -> Tensor:
    """The lowest ``modes`` coefficients of ``dim``."""
    y: Tensor = _single(x, dim)
    y = torch_dct.dct(y if kind == "cosine" else _alternating(y), norm="ortho")
    y = y if kind == "cosine" else y.flip(-1)
    return y[..., :modes].movedim(-1, dim).to(x.dtype)


def synthesise(kind: str, x: Tensor, dim: int, size: int) -> Tensor:
    """``size`` samples of ``dim`` from its coefficients; the modes not given are zero."""
    y: Tensor = _single(x, dim)
    y = F.pad(y, (0, size - y.shape[-1]))
    y = torch_dct.idct(y if kind == "cosine" else y.flip(-1), norm="ortho")
    y = y if kind == "cosine" else _alternating(y)
    return y.movedim(-1, dim).to(x.dtype)
