"""Cheap results that backward makes again instead of keeping them, by torch's checkpoints, which stop early.

A linear behind an activation keeps its input for backward; the activation keeps its own. A checkpoint around both keeps
the latter alone: in backward it computes the activation again, and stops before the product, which nobody asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spectral_ops import torch_internals
from spectral_ops._constants import tracing
from spectral_ops.linear import call, prefers_convolution, product, tensors, uncalled
from spectral_ops.torch_internals import PLAIN

__all__ = ["LARGE", "linear_behind", "may_checkpoint", "recomputed"]

#: Results of fewer numbers are kept: a checkpoint takes 0.6 ms of a processor, what it saves should be worth that.
LARGE = 2**19


def recomputed(function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """``function(*inputs)`` that keeps its inputs for backward, and nothing that it makes of them.

    ``function`` must depend on nothing but its inputs, weights included, and draw no random numbers. Where checkpoints
    would change what is seen (compilers, tracers, function transforms, other checkpoints) this is the plain call.

    Raises:
        RuntimeError: In backward, where an input has been modified in place since.
    """
    if not _learns(inputs):
        return function(*inputs)
    result: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return result


def linear_behind(layer: nn.Module, make: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``layer(make(*inputs))``; a plain linear layer does not keep what ``make`` returns, where that is large."""
    if _learns(inputs) and any(x.numel() >= LARGE for x in inputs) and uncalled(layer):
        return recomputed(_product_behind(make), *tensors(layer), *inputs)
    return call(layer, make(*inputs))


def _product_behind(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``product(make(*inputs), weight, bias)`` by the same kernel each time, whoever looks on in backward."""
    kernels: list[bool] = []

    def function(weight: Tensor, bias: Tensor | None, *inputs: Tensor) -> Tensor:
        x = make(*inputs)
        if not kernels:
            kernels.append(prefers_convolution(x, weight))
        return product(x, weight, bias, convolved=kernels[0])

    return function


def _learns(inputs: Sequence[Tensor | None]) -> bool:
    """Whether backward will come this way, and a checkpoint may be there when it does."""
    given = [x for x in inputs if x is not None]
    return all(type(x) in PLAIN for x in given) and any(x.requires_grad for x in given) and may_checkpoint()


def may_checkpoint() -> bool:
    """Whether checkpoints are possible now and hide nothing from a tracer, nor from other hooks on saved tensors."""
    return (
        not tracing()
        and torch.is_grad_enabled()
        and not torch_internals.forward_mode()
        and torch_internals.may_hook_saved_tensors()
    )
