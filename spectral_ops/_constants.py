"""Cache for the constant tensors (cosine bases, eigenvalues) that depend only on sizes, dtype and device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from spectral_ops import torch_internals

_Builder = TypeVar("_Builder", bound=Callable[..., Tensor])

#: Entries kept per builder. A dense-prediction run with many image sizes needs a few dozen.
CACHE_SIZE = 256


def tracing() -> bool:
    """Whether tensors made now may belong to a graph, a dispatch mode or a function transform, not be plain data."""
    return (
        torch.compiler.is_compiling()
        or torch_internals.jit_tracing()
        or torch_internals.dispatch_mode()
        or torch_internals.transforming()
    )


def exactly(dtype: torch.dtype, device: torch.device) -> tuple[torch.dtype, torch.device]:
    """In which dtype and where to compute a constant that is then cast to ``dtype`` and moved to ``device``.

    That is float64 on the CPU, for some devices have no float64. What becomes part of a graph is computed there each
    time it runs, on the device and in float32 unless float64 is asked for.
    """
    if torch.compiler.is_compiling() or torch_internals.jit_tracing() or torch_internals.dispatch_mode():
        double = dtype == torch.float64 and not torch.onnx.is_in_onnx_export()  # onnxruntime has no sine in float64
        return (torch.float64 if double else torch.float32), device
    return torch.float64, torch.device("cpu")


def _current_device(argument: object) -> bool:
    """Whether it is a device like ``cuda`` without index: the current one at the time of the call, so no key."""
    return isinstance(argument, torch.device) and argument.index is None and argument.type not in ("cpu", "meta")


def constant(build: _Builder) -> _Builder:
    """Cache ``build(*args)`` so that no caller can notice the cache.

    The key is every argument; a device without index names no fixed device and is not cached. Values are built outside
    ``inference_mode`` and without autograd history, so an entry made during evaluation serves training too. While a
    graph is being traced (compile, export, jit, fake tensors) or a ``torch.func`` transform is active the cache is
    bypassed in both directions, so neither symbolic sizes nor fake or wrapped tensors are ever stored. All arguments
    must be positional. The result is shared: hand out a copy where a caller could write to it.
    """

    @functools.lru_cache(maxsize=CACHE_SIZE)
    def cached(*args: object) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return build(*args)

    @functools.wraps(build)
    def wrapper(*args: object) -> Tensor:
        if tracing() or any(map(_current_device, args)):
            return build(*args)
        return cached(*args)

    wrapper.cache = cached  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]
