"""Cheap results that backward makes again instead of keeping them, by torch's checkpoints, which stop early.

A linear behind an activation keeps its input for backward; the activation keeps its own. A checkpoint around both keeps
the latter alone: in backward it computes the activation again, and stops before the product, which nobody asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from spectral_ops import torch_internals
from spectral_ops._constants import tracing
from spectral_ops.linear import ChannelLinear, channel_linear

__all__ = ["LARGE", "hooked", "linear_behind", "may_checkpoint", "recomputed"]

#: Results of fewer numbers are kept: a checkpoint takes 0.6 ms of a processor, what it saves should be worth that.
LARGE = 2**19

_PLAIN = (Tensor, nn.Parameter)


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
    plain = type(layer) in (nn.Linear, ChannelLinear) and not hooked(layer)
    if plain and _learns(inputs) and any(x.numel() >= LARGE for x in inputs):
        product = channel_linear if type(layer) is ChannelLinear else F.linear
        return recomputed(lambda weight, bias, *xs: product(make(*xs), weight, bias), *_own(layer), *inputs)
    return layer(make(*inputs))  # type: ignore[no-any-return]


def _own(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    return layer.weight, layer.bias  # type: ignore[return-value]


def _learns(inputs: Sequence[Tensor | None]) -> bool:
    """Whether backward will come this way, and a checkpoint may be there when it does."""
    given = [x for x in inputs if x is not None]
    return all(type(x) in _PLAIN for x in given) and any(x.requires_grad for x in given) and may_checkpoint()


def may_checkpoint() -> bool:
    """Whether checkpoints are possible now and hide nothing from a tracer, nor from other hooks on saved tensors."""
    return (
        not tracing()
        and torch.is_grad_enabled()
        and not torch_internals.forward_mode()
        and torch_internals.may_hook_saved_tensors()
    )


def hooked(module: nn.Module) -> bool:
    """Whether others have a hand in what a module returns: hooks, or a ``forward`` put in the place of its own."""
    own = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(own) or "forward" in vars(module) or torch_internals.globally_hooked()
