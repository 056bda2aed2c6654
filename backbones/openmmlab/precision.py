"""bfloat16 on any device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

__all__ = ["BFloat16OptimWrapper"]


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, whose range needs no loss scale, on any device; mmengine refuses the CPU."""

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """As in mmengine, with autocast."""
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield
