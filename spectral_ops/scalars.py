"""Numbers as users give them: Python's own, and what counts as such, numpy's among others. Bools and tensors do not."""

from __future__ import annotations

from numbers import Integral, Real

__all__ = ["as_float", "as_int"]


def as_int(value: object) -> int | None:
    """The int that a value is, None where it is none.

    Example:
        >>> as_int(3), as_int(3.0), as_int(True)
        (3, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, Integral)):
        return None
    return value if isinstance(value, int) else int(value)


def as_float(value: object) -> float | None:
    """The number that a value is, an int where it is an int; None where it is none.

    Example:
        >>> as_float(0.5), as_float(3), as_float("3")
        (0.5, 3, None)
    """
    if isinstance(value, (int, Integral)):
        return as_int(value)
    return float(value) if isinstance(value, (float, Real)) else None
