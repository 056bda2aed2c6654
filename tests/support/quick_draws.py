"""Large networks whose weights are drawn in no time, where it does not matter what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

_DRAWN = 2**12
_DRAWS = (torch.Tensor.uniform_, torch.Tensor.normal_)
#: What torch asks itself before it draws by ``_DRAWS``, unseen from here.
_INITS = (init.kaiming_uniform_, init.kaiming_normal_, init.xavier_uniform_, init.xavier_normal_)
#: What truncated normal numbers are made by, slowly.
_SLOW = (torch.Tensor.erfinv_,)


class QuickDraws(TorchFunctionMode):
    """The numbers of a large tensor are some thousand random ones, repeated."""

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensor = args[0] if args else kwargs.get("tensor")
        if isinstance(tensor, torch.Tensor) and tensor.numel() > 2 * _DRAWN and tensor.is_contiguous():
            if function in _INITS:
                bound = (tensor.numel() / len(tensor)) ** -0.5
                return _repeated(torch.Tensor.uniform_, tensor, -bound, bound)
            if function in (*_DRAWS, *_SLOW):
                return _repeated(function, tensor, *args[1:], **kwargs)
        return function(*args, **kwargs)


@torch.no_grad()
def _repeated(function: Callable[..., Any], tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    flat = tensor.view(-1)
    some = function(flat[:_DRAWN].clone(), *args, **kwargs)
    whole = len(flat) // _DRAWN * _DRAWN
    flat[:whole].view(-1, _DRAWN).copy_(some.expand(whole // _DRAWN, -1))
    flat[whole:].copy_(some[: len(flat) - whole])
    return tensor
