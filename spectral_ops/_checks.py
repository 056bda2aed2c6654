"""Checks of arguments shared by the package. Each raises an error that names the argument and what it accepts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from spectral_ops import torch_internals
from spectral_ops.scalars import as_int

__all__ = ["check_dtype", "check_floating", "check_quantity", "check_sizes", "has_values", "normalise_dims"]


def check_floating(x: Tensor, name: str = "x") -> None:
    """Raise ``TypeError`` unless ``x`` is a real floating-point tensor."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"{name} must be a real floating-point tensor, got dtype {x.dtype}")


def check_dtype(dtype: torch.dtype) -> None:
    """Raise ``TypeError`` unless ``dtype`` is a real floating-point dtype."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a real floating-point torch.dtype, got {dtype!r}")


def normalise_dims(dims: int | Sequence[int], ndim: int | None = None) -> tuple[int, ...]:
    """Return ``dims`` as a tuple; with ``ndim`` given, as distinct non-negative dimensions of such a tensor."""
    given = [as_int(d) for d in (dims if isinstance(dims, Sequence) else (dims,))]
    result = tuple(d for d in given if d is not None)
    if not result or len(result) < len(given):
        raise TypeError(f"dims must be an int or a non-empty sequence of ints, got {dims!r}")
    if ndim is not None:
        if any(not -ndim <= d < ndim for d in result):
            raise ValueError(f"dims={result} is out of range for a tensor with {ndim} dimensions")
        result = tuple(d % ndim for d in result)
    if len(set(result)) != len(result):
        raise ValueError(f"dims must be distinct, got {dims!r}")
    return result


def check_sizes(sizes: int | Sequence[int], name: str = "sizes") -> tuple[int, ...]:
    """Return ``sizes`` as a tuple of positive ints (symbolic sizes of a traced graph pass through)."""
    result: list[int] = []
    for n in sizes if isinstance(sizes, Sequence) else (sizes,):
        # torch.jit.trace hands shapes over as tensors, so that its graphs serve every size
        symbolic = isinstance(n, torch.SymInt) or (isinstance(n, Tensor) and torch_internals.jit_tracing())
        size = n if symbolic else as_int(n)
        if size is None:
            raise TypeError(f"{name} must be ints, got {sizes!r}")
        result.append(size)
    if not result:
        raise ValueError(f"{name} must not be empty, got {sizes!r}")
    if any(isinstance(n, int) and n < 1 for n in result):
        raise ValueError(f"{name} must be positive, got {tuple(result)}")
    return tuple(result)


def has_values(value: Tensor) -> bool:
    """Whether the entries can be read: not on the meta device, of fake tensors or under a ``torch.func`` transform."""
    return not (value.is_meta or torch_internals.is_symbolic(value))


def check_quantity(
    name: str, value: float | Tensor, minimum: float | None, *, strict: bool = False, endless: bool = False
) -> None:
    """Raise ``ValueError`` unless every entry of a physical quantity is finite and at least ``minimum``.

    ``strict`` excludes the minimum itself; ``endless`` admits the float ``inf``. Tensors whose values cannot be read
    pass (:func:`has_values`), as does everything while a graph is traced, where a value may be symbolic.
    """
    if torch.compiler.is_compiling():
        return
    if isinstance(value, Tensor):
        if not has_values(value) or value.numel() == 0:
            return
        low, finite = float(value.detach().min()), bool(torch.isfinite(value.detach()).all())
    else:
        low, finite = float(value), math.isfinite(value) or (endless and value == math.inf)
    if not finite:
        raise ValueError(
            f"{name} must be finite, got {value if not isinstance(value, Tensor) else 'a non-finite entry'}"
        )
    if minimum is not None and (low < minimum or (strict and low == minimum)):
        raise ValueError(f"{name} must be {'>' if strict else '>='} {minimum:g}, got {low:g}")
