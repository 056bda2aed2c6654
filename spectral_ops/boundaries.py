"""What may happen at the two ends of an axis, and the functions that satisfy it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor

__all__ = ["BOUNDARIES", "KINDS", "Boundaries", "Boundary", "Kind", "common", "half_waves", "one_per_axis"]

Boundary = Literal["neumann", "dirichlet", "periodic"]
BOUNDARIES: tuple[Boundary, ...] = get_args(Boundary)
#: One boundary for all axes, or one for each.
Boundaries = Boundary | Sequence[Boundary]

Kind = Literal["cosine", "sine", "fourier"]
#: The modes behind each boundary.
KINDS: dict[Boundary, Kind] = {"neumann": "cosine", "dirichlet": "sine", "periodic": "fourier"}

_Entry = TypeVar("_Entry")


def _known(boundary: object) -> bool:
    return isinstance(boundary, str) and boundary in BOUNDARIES  # an array cannot be asked the second


def one_per_axis(boundary: Boundaries, count: int) -> tuple[Boundary, ...]:
    """The boundary of each of ``count`` axes.

    Raises:
        ValueError: There is another number of them, or one is unknown.

    Example:
        >>> one_per_axis("neumann", 2), one_per_axis(["periodic", "dirichlet"], 2)
        (('neumann', 'neumann'), ('periodic', 'dirichlet'))
    """
    if isinstance(boundary, str) or not isinstance(boundary, Sequence):
        if not _known(boundary):
            raise ValueError(f"boundary must be one of {BOUNDARIES}, or one of them per axis, got {boundary!r}")
        return (boundary,) * count
    if len(boundary) != count:
        raise ValueError(f"boundary must be one of {BOUNDARIES}, or one per axis, {count} in all, got {boundary!r}")
    for axis, each in enumerate(boundary):
        if not _known(each):
            raise ValueError(f"boundary[{axis}] must be one of {BOUNDARIES}, got {each!r}")
    return tuple(boundary)  # type: ignore[arg-type]


def common(values: tuple[_Entry, ...]) -> _Entry | tuple[_Entry, ...]:
    """What is the same on every axis is said once: one form, for expressions compare it."""
    return values[0] if len(set(values)) == 1 else values


def half_waves(kind: Kind, modes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """How many half waves each mode has along its axis: 0, 1, 2 ...; 1, 2, 3 ...; on a circle 0, 2, 2, 4, 4 ..."""
    order = torch.arange(modes, dtype=dtype, device=device)
    if kind == "fourier":
        return 2 * torch.div(order + 1, 2, rounding_mode="floor")
    return order + (0 if kind == "cosine" else 1)
