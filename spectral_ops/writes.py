"""How it is known that what something was computed from has changed since: numbers written over, settings, hooks."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from spectral_ops.torch_internals import exporting, is_symbolic

__all__ = ["Mark", "marks_of_settings", "marks_of_tensors", "note_steps_of_optimizers", "version"]

_noted = False
_TORCHS = frozenset(vars(nn.Module())) - {"forward"}
#: Of what a module holds beside tensors and modules, what changes the results of its calls.
_CALLS = ("_forward_pre_hooks", "_forward_hooks")
_ABSENT: Any = object()


class Mark(NamedTuple):
    """What stands under a name of a module, and for a tensor how often it had been written to and where it lay."""

    place: Mapping[str, Any]
    name: str
    value: Any
    version: tuple[Any, ...] | None = None

    def holds(self) -> bool:
        """Whether the same is there: the same module, equal settings, or the same tensor with the same numbers."""
        if self.version is None:
            return bool(_frozen(self.place.get(self.name, _ABSENT)) == self.value)
        there = self.place.get(self.name)
        # An exporter puts a fake in the place of each tensor, and whose it is cannot be asked.
        same = there is self.value or (exporting() and there is not None and is_symbolic(there))
        return same and (torch.compiler.is_dynamo_compiling() or version(self.value) == self.version)


class _Same:
    """Anything that is no plain setting, and equal to itself alone."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    __hash__ = object.__hash__


def _frozen(value: Any) -> Any:
    """A setting as it is now: numbers and names, also in lists, sets and dictionaries that may change in place."""
    if isinstance(value, (int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [_frozen(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _frozen(each) for name, each in value.items()}
    return frozenset(value) if isinstance(value, (set, frozenset)) else _Same(value)


def marks_of_tensors(module: nn.Module) -> list[Mark]:
    """Its parameters and buffers."""
    places: tuple[Mapping[str, Tensor | None], ...] = (module._parameters, module._buffers)
    return [Mark(p, n, t, version(t)) for p in places for n, t in p.items() if t is not None]


def marks_of_settings(module: nn.Module) -> list[Mark]:
    """The modules inside of a module, its own attributes, as a rate that is a float or the adapters that PEFT's layers
    list as active, what others hang on its calls, and that it is in evaluation mode, where it is."""
    own = vars(module)
    marks = [Mark(module._modules, name, _frozen(inner)) for name, inner in module._modules.items()]
    marks += [] if module.training else [Mark(own, "training", False)]
    names = [name for name in own if name not in _TORCHS and name != "forward"]
    return marks + [Mark(own, name, _frozen(own.get(name, _ABSENT))) for name in (*names, "forward", *_CALLS)]


def _storage(tensor: Tensor) -> weakref.ref[torch.UntypedStorage] | None:
    try:
        return weakref.ref(tensor.untyped_storage())
    except NotImplementedError:  # sparse tensors have several
        return None


def version(tensor: Tensor) -> tuple[Any, ...]:
    """What changes when a tensor is written to, or gets other memory by ``.data``.

    Not the address alone: memory that has been freed is soon given out again. Of inference tensors and of memory that
    other processes share it cannot be known: nothing equals what is told of them.
    """
    if tensor.is_inference() or (tensor.device.type == "cpu" and not is_symbolic(tensor) and tensor.is_shared()):  # type: ignore[no-untyped-call]
        return (object(),)
    return tensor._version, tensor.data_ptr(), _storage(tensor)


def note_steps_of_optimizers() -> None:
    """Let every optimizer's step count as a write to its parameters, in this process and from now on.

    Torch's fused optimizers and those of other libraries write by kernels of their own, which versions do not show.
    """
    global _noted
    if not _noted:
        register_optimizer_step_post_hook(_written)
        _noted = True


def _written(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                increment_version(parameter)
