"""What only private names of torch tell: asked in this one place.

A version of torch that lacks a name gets the answer that is slower or plainer, and right.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as _modules

__all__ = [
    "PLAIN",
    "backward_pass",
    "dispatch_mode",
    "exporting",
    "forward_mode",
    "function_mode",
    "hooked",
    "is_symbolic",
    "jit_tracing",
    "may_hook_saved_tensors",
    "own",
    "profiling",
    "refuse_tracing_into",
    "transformed",
    "transforming",
]

#: The types of tensors that nobody overrides.
PLAIN = (Tensor, nn.Parameter)

_MISSING: Any = object()
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL_HOOKS = [getattr(_modules, f"_global{kind}", {}) for kind in _HOOKS]


def _private(module: str, path: str, default: Any) -> Any:
    """What stands at ``path`` in a module of torch, or the default."""
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return default
    for name in path.split("."):
        found = getattr(found, name, _MISSING)
    return default if found is _MISSING else found


_peek = _private("torch", "_C._functorch.peek_interpreter_stack", lambda: object())
_Interpreter = _private("torch", "_C._functorch.CInterpreter", object)
_is_wrapped = _private("torch", "_C._functorch.is_functorch_wrapped_tensor", lambda value: False)
_Fake = _private("torch._subclasses.fake_tensor", "FakeTensor", ())
_mode = _private("torch.utils._python_dispatch", "_get_current_dispatch_mode", lambda: object())
_may_hook = _private("torch", "_C._autograd._saved_tensors_hooks_is_enabled", lambda: False)
_hooks = _private("torch", "_C._autograd._top_saved_tensors_default_hooks", lambda ignore_tracing: None)
_function_modes = _private("torch", "_C._len_torch_function_stack", lambda: 0)
_graph_task = _private("torch", "_C._current_graph_task_id", lambda: -1)


def jit_tracing() -> bool:
    """Whether ``torch.jit.trace``, or an exporter that goes through it, runs."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def exporting() -> bool:
    """Whether a graph is made to be kept. Torch 2.6 and older take compilation for it."""
    asked = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return bool(asked()) or jit_tracing()


def transforming() -> bool:
    """Whether a ``torch.func`` transform may be active."""
    return _peek() is not None


def transformed() -> bool:
    """Whether a ``torch.func`` transform is active; by type, because None is an object like any other to Dynamo."""
    return isinstance(_peek(), _Interpreter)


def refuse_tracing_into(module: nn.Module, *values: Any) -> None:
    """Say what to do where torch.fx traces into a module that decides by sizes, of which a graph keeps it whole.

    Raises:
        TypeError: One of its arguments is torch.fx's stand-in for values.
    """
    if any(isinstance(value, fx.Proxy) for value in values):
        raise TypeError(
            f"torch.fx cannot trace into a {type(module).__name__}, which decides by the sizes of its input: have it "
            "kept whole, with the other classes of timm.models.get_notrace_modules(), for example by "
            "PrepareCustomConfig().set_non_traceable_module_classes([...]) of torch.ao.quantization, leaf_modules= of "
            "torchvision's feature extractor, or is_leaf_module of a Tracer"
        )


def dispatch_mode() -> bool:
    """Whether a dispatch mode sees what is computed, that of fake tensors for example."""
    return _mode() is not None


def forward_mode() -> bool:
    """Whether derivatives are taken in forward mode."""
    return int(getattr(forward_ad, "_current_level", 0)) >= 0


def function_mode() -> bool:
    """Whether a mode sees the functions that are called; ``torch.set_default_device`` is one."""
    return int(_function_modes()) > 0


def is_symbolic(value: Tensor) -> bool:
    """Whether a tensor stands for others: fake, or wrapped by a ``torch.func`` transform. Its entries can't be read."""
    return isinstance(value, _Fake) or bool(_is_wrapped(value))


def may_hook_saved_tensors() -> bool:
    """Whether hooks on saved tensors are possible, and no others, a checkpoint's for example, are there.

    Versions of torch that cannot tell the latter are taken at their word about the former.
    """
    return bool(_may_hook()) and _hooks(False) is None


def hooked(module: nn.Module) -> bool:
    """Whether others have a hand in what a module returns: by hooks, a patched call, or another ``forward``."""
    for name in _HOOKS:  # in plain statements, which compilers follow
        if getattr(module, name, True):
            return True
    for hooks in _GLOBAL_HOOKS:
        if hooks:
            return True
    patched = type(module).__call__ is not _CALL or getattr(type(module), "_call_impl", None) is not _CALL_IMPL
    return patched or "forward" in module.__dict__


def own(function: Any, sibling: Callable[..., Any]) -> Any:
    """A function of torch, or None where another, from another file than its sibling, stands in its place."""
    code = getattr(function, "__code__", None)
    return function if getattr(code, "co_filename", None) == sibling.__code__.co_filename else None


_CALL = own(nn.Module.__call__, _modules.register_module_forward_hook)
_CALL_IMPL = own(getattr(nn.Module, "_call_impl", None), _modules.register_module_forward_hook)


def profiling() -> bool:
    """Whether a profiler sees which functions of Python, and so which modules, are called: ``torch.profiler`` does
    ``with_stack``, and ``cProfile``."""
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on
    if monitoring is not None and monitoring.get_tool(monitoring.PROFILER_ID) is not None:
        return True
    return sys.getprofile() is not None


def backward_pass() -> int:
    """The number of the pass backward that runs here now, -1 for none."""
    return int(_graph_task())
