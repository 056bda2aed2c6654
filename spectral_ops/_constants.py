"""Cache for the constant tensors (cosine bases, eigenvalues) that depend only on sizes, dtype and device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

_Builder = TypeVar("_Builder", bound=Callable[..., Tensor])

#: Entries kept per builder. A dense-prediction run with many image sizes needs a few dozen.
CACHE_SIZE = 256


def _tracing() -> bool:
    """Whether tensors made now may belong to a graph or a dispatch mode instead of being plain data."""
    return torch.compiler.is_compiling() or _get_current_dispatch_mode() is not None


def constant(build: _Builder) -> _Builder:
    """Cache ``build(*args)`` so that no caller can notice the cache.

    The key is every argument. Values are built outside ``inference_mode`` and without autograd history, so an entry
    made during evaluation serves training too. While a graph is being traced (compile, export, fake tensors) the cache
    is bypassed in both directions, so neither symbolic sizes nor fake tensors are ever stored. All arguments must be
    positional.
    """
    cached = functools.lru_cache(maxsize=CACHE_SIZE)(build)

    @functools.wraps(build)
    def wrapper(*args: object) -> Tensor:
        if _tracing():
            return build(*args)
        with torch.inference_mode(False), torch.no_grad():
            return cached(*args)

    wrapper.cache = cached  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]
