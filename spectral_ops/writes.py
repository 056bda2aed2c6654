"""How it is known that numbers have been written over since something was computed from them."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd.graph import increment_version
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

__all__ = ["note_steps_of_optimizers", "version"]

_noted = False


def version(tensor: Tensor) -> tuple[int, int]:
    """What changes when a tensor is written to, or gets other memory by ``.data``."""
    return (0 if tensor.is_inference() else tensor._version), tensor.data_ptr()


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
