"""Smooth functions of one mode, finite in value and in gradient where their usual formulas are 0 / 0 or inf - inf."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Oscillator", "oscillator", "phi1", "power", "weighted"]

#: Terms of the power series used for arguments up to 1: the first one left out is 1 / 20!, below float64's rounding.
_TERMS = 10


def _series(z: Tensor, coefficients: list[float]) -> Tensor:
    """Horner's rule, the constant first."""
    total = torch.full_like(z, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * z + coefficient
    return total


# In what follows each branch of a `where` sees only arguments it is good for, or its gradient would spoil the other's
# with nan.


def phi1(z: Tensor) -> Tensor:
    """``(1 - exp(-z)) / z``, and 1 at 0."""
    small = z.abs() < 1
    near = _series(torch.where(small, z, 0), [(-1) ** n / math.factorial(n + 1) for n in range(2 * _TERMS)])
    far = torch.where(small, 1, z)
    return torch.where(small, near, -torch.expm1(-far) / far)


def power(base: Tensor, exponent: float | Tensor) -> Tensor:
    r"""``base ** exponent`` for base >= 0, with 0 where base is 0, in value and in gradient.

    With ``exponent=0.5`` it is the square root for rates and frequencies. Torch's own has an infinite gradient at 0,
    the eigenvalue of the constant mode, and infinity times the 0 that follows is nan: in the gradient of every
    learned quantity under the root.

    Args:
        base: Any shape, >= 0.
        exponent: s, broadcastable to ``base``; also for s = 0 the power of 0 is 0.

    Returns:
        Tensor of the shape they broadcast to, cut off before it overflows.

    Example:
        >>> from spectral_ops import laplacian_eigenvalues
        >>> speed = torch.tensor(2.0, requires_grad=True)
        >>> squared = speed.square() * laplacian_eigenvalues((2, 3))
        >>> torch.autograd.grad(torch.cos(power(squared, 0.5)).sum(), speed, retain_graph=True)[0].isfinite()
        tensor(True)
        >>> torch.autograd.grad(torch.cos(squared.sqrt()).sum(), speed)[0]
        tensor(nan)
    """
    moving = base > 0
    limit = math.log(torch.finfo(base.dtype).max) - 1
    value = torch.exp((exponent * torch.where(moving, base, 1).log()).clamp(max=limit))
    return torch.where(moving, value, 0)


def weighted(eigenvalues: Any, weights: Any) -> Tensor:
    """The eigenvalue of ``-sum_i w_i d_i^2``, from their sum and one weight, or from those of each axis and its own."""
    if not isinstance(eigenvalues, tuple):
        eigenvalues, weights = (eigenvalues,), (weights,)
    first, *rest = (e * w for e, w in zip(eigenvalues, weights, strict=True))
    total: Tensor = first
    for term in rest:
        total = total + term
    return total


class Oscillator(NamedTuple):
    """What :func:`oscillator` returns: with C, S the damped cosine and sinc, ``C + b S``, ``S`` and ``C - b S``."""

    field: Tensor
    sinc: Tensor
    velocity: Tensor


def oscillator(w: Tensor, b: Tensor) -> Oscillator:
    """The damped oscillator after unit time, smooth in its angle w >= 0 without damping and its damping b.

    With ``z = w**2 - b**2``, ``C = exp(-b) cos(sqrt(z))`` and ``S = exp(-b) sin(sqrt(z)) / sqrt(z)``, where for z < 0
    cos and sin are cosh and sinh. Nothing is squared, and over-damped modes are computed from their two decay rates,
    so that neither overflows nor cancels.
    """
    z = (w - b) * (w + b)
    size = b.abs()
    series = z.abs() < 1
    fast = (w > size) & ~series
    slow = ~(series | fast)
    fade = torch.exp(-torch.where(slow, 0, b))
    gone = fade == 0  # the angle may then be infinite

    near = torch.where(series, z, 0)
    cos = fade * _series(near, [(-1) ** n / math.factorial(2 * n) for n in range(_TERMS)])
    sinc = fade * _series(near, [(-1) ** n / math.factorial(2 * n + 1) for n in range(_TERMS)])

    waving = fast & ~gone
    angle = torch.where(waving, w - size, 1).sqrt() * torch.where(waving, w + size, 1).sqrt()
    cos = torch.where(fast, fade * torch.cos(angle), cos)
    sinc = torch.where(fast, fade * torch.sin(angle) / angle, sinc)
    shift = torch.where(slow, 0, b) * sinc

    # Rates far = |b| + s and near = |b| - s = w**2 / far; for b < 0 both grow.
    s = torch.where(slow, size - w, 1).sqrt() * torch.where(slow, size + w, 1).sqrt()
    far = torch.where(slow, size, 1) + s
    less = torch.where(slow, w, 0) * (torch.where(slow, w, 0) / far)
    sign = torch.where(b < 0, -1.0, 1.0).to(z.dtype)
    first, second = torch.exp(-sign * less), torch.exp(-sign * torch.where(slow, far, 0))
    more_share, less_share = far / (2 * s), less / (2 * s)
    return Oscillator(
        torch.where(slow, first * more_share - second * less_share, cos + shift),
        torch.where(slow, sign * (first - second) / (2 * s), sinc),
        torch.where(slow, second * more_share - first * less_share, cos - shift),
    )
