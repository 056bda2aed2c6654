"""Triton kernels on the CPU, by Triton's interpreter: a module of kernels loaded anew, whatever was imported before."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import torch
import triton
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

__all__ = ["interpreted", "load"]


def _widened(handle: TensorHandle) -> TensorHandle:
    """A bfloat16 operand, which the interpreter keeps as integers, in float32."""
    if handle.dtype.scalar != tl.bfloat16:
        return handle
    return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)


def _dot(self, a, b, d, *options, _dot=InterpreterBuilder.create_dot):
    return _dot(self, _widened(a), _widened(b), d, *options)  # else the product would be one of the integers


def _cast(self, src, dst_type, _cast=InterpreterBuilder.cast_impl):
    if (src.dtype.scalar, dst_type.scalar) != (tl.float32, tl.bfloat16):
        return _cast(self, src, dst_type)
    rounded = torch.from_numpy(np.array(src.data)).bfloat16()  # to nearest, as on a GPU; the interpreter cuts off
    return TensorHandle(rounded.view(torch.uint16).numpy(), tl.bfloat16)


def load(path: str | Path, *, interpret: bool) -> ModuleType:
    """The module at ``path`` with its kernels interpreted or compiled, whatever TRITON_INTERPRET says.

    It is not put into ``sys.modules``.
    """
    spec = importlib.util.spec_from_file_location(f"loaded_{Path(path).stem}", path)
    module = importlib.util.module_from_spec(spec)
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = interpret  # asked when a kernel is decorated
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def interpreted(path: str | Path) -> Iterator[ModuleType]:
    """The module at ``path`` with its kernels interpreted, on CPU tensors."""
    with mock.patch.multiple(InterpreterBuilder, create_dot=_dot, cast_impl=_cast):
        yield load(path, interpret=True)
