"""The operator as one kernel on the GPU: where it applies, and what autograd, tracing and export see of it.

Off unless ``use_kernels(fused=True)`` is. The kernels are in :mod:`spectral_ops._fused_triton`, which is
imported when one runs for the first time, so this package needs no Triton.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spectral_ops import torch_internals
from spectral_ops.boundaries import Kind
from spectral_ops.transforms import _basis

__all__ = ["MAX_SIZE", "apply", "correlate", "fits", "fused_gain"]

#: The longest side of a map that one program holds.
MAX_SIZE = 64

#: Types of device that run the kernels.
DEVICES = {"cuda"}

_HAS_TRITON = importlib.util.find_spec("triton") is not None


def fits(x: Tensor, gain: Tensor, dims: tuple[int, ...], products: torch.dtype) -> bool:
    """Whether the kernel does what matrix products would.

    Args:
        x: The field.
        gain: Its gain, viewed so that it broadcasts against ``x``.
        dims: The dimensions to transform.
        products: The dtype of matrix products of ``x``.
    """
    return (
        x.device.type in DEVICES
        and _HAS_TRITON
        and x.ndim == 4
        and dims == (1, 2)
        and all(isinstance(n, int) and n <= MAX_SIZE for n in x.shape[1:3])  # no symbols, which this would limit
        and gain.shape[0] == 1
        and gain.device == x.device
        and x.is_contiguous()
        and x.numel() > 0
        and _basis_dtype(products) is not None
        and not _transformed()
    )


def _basis_dtype(products: torch.dtype) -> torch.dtype | None:
    """The dtype of the bases, None where the kernel has no such products.

    Float16 takes TF32, which has its precision and holds amplitudes beyond its range. In float32 proper the kernel
    would run without tensor cores, on more registers than there are.
    """
    if products == torch.bfloat16:
        return torch.bfloat16
    tf32 = products == torch.float16 or (products == torch.float32 and _tf32_allowed())
    return torch.float32 if tf32 else None


def _tf32_allowed() -> bool:
    """By whichever of torch's settings: the old one cannot be read once the new one was written, from torch 2.9 on."""
    try:
        return bool(torch.backends.cuda.matmul.allow_tf32)
    except RuntimeError:
        return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


def _transformed() -> bool:
    """Whether the call is traced for a format without this operator, or transformed in a way it has no rule for."""
    if not torch.compiler.is_compiling() and torch_internals.jit_tracing():
        return True
    return torch_internals.transformed() or torch_internals.forward_mode() or torch.onnx.is_in_onnx_export()


def apply(x: Tensor, gain: Tensor, kinds: Sequence[Kind], products: torch.dtype) -> Tensor:
    """``inverse(transform(x) * gain)`` for what :func:`fits`, with the gain broadcastable to ``(H, W, C)``."""
    dtype = _basis_dtype(products)
    assert dtype is not None
    rows, columns = (_basis(k, n, n, dtype, x.device) for k, n in zip(kinds, x.shape[1:3], strict=True))
    result: Tensor = fused_gain(x, gain.float().expand(x.shape[1:]), rows, columns)
    return result


@torch.library.custom_op("spectral_ops::fused_gain", mutates_args=())
def fused_gain(x: Tensor, gain: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Transform, multiply by a gain, transform back.

    Args:
        x: ``(B, H, W, C)`` in any real dtype up to float32.
        gain: ``(H, W, C)``, any strides.
        rows, columns: Orthonormal bases of H and W, rows are modes: bfloat16, or float32 for products in TF32.

    Returns:
        Contiguous tensor like ``x``.
    """
    from spectral_ops import _fused_triton

    return _fused_triton.apply(x, gain, rows, columns)


@torch.library.custom_op("spectral_ops::correlate", mutates_args=())
def correlate(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The sum over samples of the product of two spectra, ``(H, W, C)`` in float32: the gradient of a gain."""
    from spectral_ops import _fused_triton

    return _fused_triton.correlate(x, y, rows, columns)


@fused_gain.register_fake
def _(x: Tensor, gain: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@correlate.register_fake
def _(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return x.new_empty(x.shape[1:], dtype=torch.float32)


# The bases are orthonormal, so the operator is its own adjoint, and each of the two is the derivative of the other. All
# is recomputed from the inputs.


def _setup(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward_of_gain(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, gain, rows, columns = ctx.saved_tensors
    grad_x = fused_gain(grad, gain, rows, columns) if ctx.needs_input_grad[0] else None
    grad_gain = correlate(x, grad, rows, columns) if ctx.needs_input_grad[1] else None
    return grad_x, grad_gain, None, None


def _backward_of_correlation(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, y, rows, columns = ctx.saved_tensors
    grad_x = fused_gain(y, grad, rows, columns) if ctx.needs_input_grad[0] else None
    grad_y = fused_gain(x, grad, rows, columns) if ctx.needs_input_grad[1] else None
    return grad_x, grad_y, None, None


fused_gain.register_autograd(_backward_of_gain, setup_context=_setup)
correlate.register_autograd(_backward_of_correlation, setup_context=_setup)
