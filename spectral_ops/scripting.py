"""What ``torch.jit.script`` compiles in the place of modules that TorchScript cannot express.

TorchScript compiles neither operators (their quantities are any module, their expressions any tree) nor checks of
arguments, but it does run graphs of ``torch.jit.trace``. Those of an operator hold for every batch and grid size, and
for the device and dtype they were traced with. They hold the parameters themselves, and can be saved.

A module says by ``__prepare_scriptable__`` what stands in for it. While torch exchanges modules it tells them apart by
their address, so each stand-in keeps what it stands for alive: else another module could get the same address.
"""

# No `from __future__ import annotations`: TorchScript reads the class annotations below as types.

import copy
import warnings
from typing import Final

import torch
from torch import Tensor, nn

from spectral_ops.embedding import SpectralEmbedding, resized
from spectral_ops.operator import SpectralOperator
from spectral_ops.precomputed import Precomputed

__all__ = ["ScriptedEmbedding", "TracedOperator", "with_modules"]


def with_modules(module: nn.Module, **modules: nn.Module) -> nn.Module:
    """A module like this one, with its parameters and its submodules, but for those given."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **modules}
    vars(twin)["stands_for"] = (module,)
    return twin


class _Positional(nn.Module):
    """An operator whose embedding may be given without a name, as tracing needs it."""

    def __init__(self, operator: SpectralOperator) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        return self.operator(x, embedding=embedding)  # type: ignore[no-any-return]


class TracedOperator(nn.Module):
    """The graph of an operator on channels-last maps.

    Args:
        operator: Any but one with stored gains.
        like: A tensor with the device and dtype of the maps and their number of channels as its length.

    Raises:
        ValueError: Gains are stored for chosen sizes, and a graph cannot look its size up.
    """

    conditioned: Final[bool]

    def __init__(self, operator: SpectralOperator, like: Tensor) -> None:
        super().__init__()
        if any(isinstance(module, Precomputed) for module in operator.modules()):
            raise ValueError(
                f"torch.jit.script cannot choose among the gains of {operator!r}: undo the precomputing first "
                f"(unreparameterize() of a network), or use torch.export"
            )
        self.conditioned = operator.embedding_conditioned
        x = like.detach().new_zeros(2, 3, 4, len(like))
        inputs = (x, x[0]) if self.conditioned else (x,)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of comparisons that the graph fixes: all are checks of arguments
            self.graph = torch.jit.trace(_Positional(operator), inputs, check_trace=False)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        if self.conditioned:
            assert embedding is not None, "this operator needs a spectral embedding"
            return self.graph(x, embedding)  # type: ignore[no-any-return]
        return self.graph(x)  # type: ignore[no-any-return]


class ScriptedEmbedding(nn.Module):
    """A :class:`~spectral_ops.embedding.SpectralEmbedding` with the same parameter and no checks."""

    def __init__(self, embedding: SpectralEmbedding) -> None:
        super().__init__()
        self.stands_for = (embedding,)
        self.weight = embedding.weight
        self.rule = str(embedding.rule)

    def forward(self, sizes: list[int]) -> Tensor:
        weight = self.weight if self.weight.dtype == torch.float64 else self.weight.float()
        if list(weight.shape[:2]) == sizes:
            return weight
        return resized(weight, sizes[0], sizes[1], self.rule)
