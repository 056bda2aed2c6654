"""Cheap results that backward makes again instead of keeping them, by torch's checkpoints, which stop early.

A linear behind an activation keeps its input for backward; the activation keeps its own. A checkpoint around both keeps
the latter alone: in backward it computes the activation again, and stops before the product, which nobody asks for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook
from torch.utils.checkpoint import checkpoint

from spectral_ops._constants import tracing
from spectral_ops.linear import ChannelLinear, channel_linear

__all__ = ["hooked", "linear_behind", "may_checkpoint", "recomputed"]

_PLAIN = (Tensor, nn.Parameter)


def recomputed(function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """``function(*inputs)`` that keeps its inputs for backward, and nothing that it makes of them.

    ``function`` must depend on nothing but its inputs, weights included, and draw no random numbers. Where checkpoints
    would change what is seen (compilers, tracers, function transforms) this is the plain call.

    Raises:
        RuntimeError: In backward, where an input has been modified in place since.
    """
    given = [x for x in inputs if x is not None]
    if not (may_checkpoint() and all(type(x) in _PLAIN for x in given) and any(x.requires_grad for x in given)):
        return function(*inputs)
    result: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return result


def linear_behind(layer: nn.Module, make: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``layer(make(*inputs))``; a plain linear layer does not keep what ``make`` returns."""
    if type(layer) in (nn.Linear, ChannelLinear) and not hooked(layer):
        return recomputed(lambda weight, bias, *xs: channel_linear(make(*xs), weight, bias), *_own(layer), *inputs)
    return layer(make(*inputs))  # type: ignore[no-any-return]


def _own(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    return layer.weight, layer.bias  # type: ignore[return-value]


def may_checkpoint() -> bool:
    """Whether checkpoints are possible now and hide nothing from a tracer."""
    return (
        not tracing()
        and torch.is_grad_enabled()
        and forward_ad._current_level < 0
        and torch._C._autograd._saved_tensors_hooks_is_enabled()  # type: ignore[attr-defined]
    )


def hooked(module: nn.Module) -> bool:
    """Whether hooks have a hand in what a module returns."""
    own = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(own) or _has_any_global_hook()  # type: ignore[no-untyped-call]
