"""Cheap results that backward makes again instead of keeping them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from spectral_ops._constants import tracing

__all__ = ["lean", "may_hook"]

_PLAIN = (Tensor, nn.Parameter)


def lean(consume: Callable[[Tensor], Tensor], result: Tensor, make: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``consume(result)`` that keeps ``inputs`` for backward and not ``result``, which is ``make(*inputs)``.

    ``make`` must be cheap and depend on nothing but its inputs; it pays where these are kept anyway, as an activation's
    are. Where something else decides what is kept (compilers, tracers, function transforms, checkpointing and other
    hooks on saved tensors) this is the plain expression.

    Raises:
        RuntimeError: In backward, where what was kept has been modified in place since.
    """
    if not may_hook() or _top_hooks() or not _replaceable(result):
        return consume(result)
    kept = _Kept(result, make, inputs)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack):
        out = consume(result)
    if not kept.used:
        kept.inputs = []
    return out


def may_hook() -> bool:
    """Whether hooks on saved tensors, and with them checkpoints, are possible now and hide nothing from a tracer."""
    return (
        not tracing()
        and torch.is_grad_enabled()
        and forward_ad._current_level < 0
        and torch._C._autograd._saved_tensors_hooks_is_enabled()  # type: ignore[attr-defined]
    )


def _top_hooks() -> bool:
    """Whether others' hooks on saved tensors are in effect, those of checkpointing among them, or might be."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return top is None or top(False) is not None


def _replaceable(result: Tensor) -> bool:
    """Whether a result is a plain tensor that owns its storage, part of a graph, and no view of it begins elsewhere."""
    return (
        type(result) in _PLAIN
        and result.requires_grad
        and result.layout == torch.strided
        and not result.is_nested
        and not result._is_view()
        and result.storage_offset() == 0
    )


class _Kept:
    """The hooks: a view of the result is kept as its geometry, everything else as it is.

    Attributes:
        used: Whether the result was among what backward needs.
    """

    def __init__(self, result: Tensor, make: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
        self.result, self.version = weakref.ref(result), result._version
        self.stride, self.make = result.stride(), make
        self.inputs = [(x.detach(), x._version) for x in inputs]
        self.used = False

    def pack(self, tensor: Tensor) -> Any:
        result = self.result()
        if (
            result is not None
            and type(tensor) in _PLAIN
            and tensor.layout == torch.strided
            and tensor.dtype == result.dtype
            and tensor.untyped_storage().data_ptr() == result.untyped_storage().data_ptr()
            and result._version == self.version
        ):
            self.used = True
            return tensor.size(), tensor.stride(), tensor.storage_offset()
        # The output of an operation that keeps it would hold its own graph, for ever. Leaves stay themselves, whose
        # data may be replaced, as FSDP does.
        kept = tensor if tensor.is_leaf else tensor.detach()
        return kept, kept._version

    def unpack(self, kept: Any) -> Tensor:
        if isinstance(kept[0], Tensor):
            return _unmodified(*kept)
        with torch.no_grad():
            result = self.make(*(_unmodified(*pair) for pair in self.inputs))
        if result.stride() != self.stride:
            raise RuntimeError(f"made again, a result has strides {result.stride()}; they were {self.stride}")
        return result.as_strided(*kept)


def _unmodified(tensor: Tensor, version: int) -> Tensor:
    if tensor._version != version and not torch.compiler.is_compiling():
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: a tensor "
            f"of shape {tuple(tensor.shape)} is at version {tensor._version}; expected version {version}"
        )
    return tensor
