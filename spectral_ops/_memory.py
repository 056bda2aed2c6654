"""Cheap results that backward makes again instead of keeping them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spectral_ops._constants import tracing

__all__ = ["lean"]

_PLAIN = (Tensor, nn.Parameter)


def lean(consume: Callable[[Tensor], Tensor], make: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``consume(make(*inputs))`` that keeps ``inputs`` for backward and not what ``make`` returns of them.

    ``make`` must be cheap, such as an activation, and depend on nothing but its inputs, which its own backward keeps
    anyway. Where something else decides what is kept (compilers, tracers, function transforms, checkpointing and other
    hooks on saved tensors) this is the plain expression.

    Raises:
        RuntimeError: In backward, where what was kept has been modified in place since.
    """
    result = make(*inputs)
    if tracing() or type(result) not in _PLAIN or not (torch.is_grad_enabled() and result.requires_grad) or _hooked():
        return consume(result)
    kept = _Kept(result, make, inputs)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack):
        return consume(result)


def _hooked() -> bool:
    """Whether hooks on saved tensors are in effect, those of checkpointing among them, or might be."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return top is None or top(False) is not None


class _Kept:
    """The hooks: a view of the result is kept as its geometry, everything else as it is."""

    def __init__(self, result: Tensor, make: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
        self.address, self.version = result.untyped_storage().data_ptr(), result._version
        self.result = weakref.ref(result)
        self.stride, self.make = result.stride(), make
        self.inputs = [(x.detach(), x._version) for x in inputs]

    def pack(self, tensor: Tensor) -> Any:
        result = self.result()
        if (
            result is not None
            and type(tensor) in _PLAIN
            and tensor.layout == torch.strided
            and tensor.dtype == result.dtype
            and tensor.untyped_storage().data_ptr() == self.address
            and result._version == self.version
        ):
            return tensor.size(), tensor.stride(), tensor.storage_offset() - result.storage_offset()
        return tensor, tensor._version

    def unpack(self, kept: Any) -> Tensor:
        if isinstance(kept[0], Tensor):
            return _unmodified(*kept)
        with torch.no_grad():
            result = self.make(*(_unmodified(*pair) for pair in self.inputs))
        assert result.stride() == self.stride  # or the geometry would be of another result
        return result.as_strided(*kept)


def _unmodified(tensor: Tensor, version: int) -> Tensor:
    if tensor._version != version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: a tensor "
            f"of shape {tuple(tensor.shape)} is at version {tensor._version}; expected version {version}"
        )
    return tensor
