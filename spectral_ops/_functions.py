"""Smooth functions of one mode, finite in value and in gradient where their usual formulas are 0 / 0."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["damped_cos_sinc", "phi1"]

#: Terms of the power series used for arguments up to 1: the first one left out is 1 / 20!, below float64's rounding.
_TERMS = 10


def _series(z: Tensor, coefficients: list[float]) -> Tensor:
    """Horner's rule, the constant first."""
    total = torch.full_like(z, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * z + coefficient
    return total


def phi1(z: Tensor) -> Tensor:
    """``(1 - exp(-z)) / z`` for z >= 0, and 1 at 0."""
    # Each branch of a `where` sees only arguments it is good for, or its gradient would spoil the other's with nan.
    small = z < 1
    near = _series(torch.where(small, z, 0), [(-1) ** n / math.factorial(n + 1) for n in range(2 * _TERMS)])
    far = torch.where(small, 1, z)
    return torch.where(small, near, -torch.expm1(-far) / far)


def damped_cos_sinc(q: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``exp(-b) cos(sqrt(z))`` and ``exp(-b) sin(sqrt(z)) / sqrt(z)`` with ``z = q - b**2``, smooth in q and b.

    For q >= 0. Where z < 0 they are ``exp(-b) cosh(sqrt(-z))`` and ``exp(-b) sinh(sqrt(-z)) / sqrt(-z)``, computed from
    the two decay rates, so that neither factor overflows.
    """
    z = q - b * b
    small, fast = z.abs() < 1, z >= 1
    near = torch.where(small, z, 0)
    fade = torch.exp(-torch.where(small | fast, b, 0))
    series_cos = fade * _series(near, [(-1) ** n / math.factorial(2 * n) for n in range(_TERMS)])
    series_sinc = fade * _series(near, [(-1) ** n / math.factorial(2 * n + 1) for n in range(_TERMS)])
    angle = torch.where(fast, z, 1).sqrt()
    wave_cos, wave_sinc = fade * torch.cos(angle), fade * torch.sin(angle) / angle
    # Over-damped: exp(-b +- s). The slow rate comes from the product of both, q, and not from their difference.
    slow_fast = small | fast
    s = torch.where(slow_fast, 1, -z).sqrt()
    sign = torch.where(b < 0, -1.0, 1.0).to(z.dtype)
    high = torch.where(slow_fast, 1, b.abs() + s)
    slow, quick = torch.exp(-sign * torch.where(slow_fast, 0, q) / high), torch.exp(-sign * high)
    over_cos, over_sinc = (slow + quick) / 2, sign * (slow - quick) / (2 * s)
    cos = torch.where(small, series_cos, torch.where(fast, wave_cos, over_cos))
    return cos, torch.where(small, series_sinc, torch.where(fast, wave_sinc, over_sinc))
