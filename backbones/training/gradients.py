"""Updates that are not finite: seen by one norm, skipped, and undone in the statistics of batch norms."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["NormStatistics", "gradients_are_finite", "names_of_bad_gradients"]


def gradients_are_finite(parameters: Iterable[Tensor]) -> bool:
    """Whether the norm of all gradients together is a number. One question to the device.

    Asked after data-parallel reduction, all processes get the same answer.
    """
    grads = [_numbers(p.grad) for p in parameters if p.grad is not None]
    grads = [g.float() if g.is_floating_point() else g.abs() for g in grads]  # the range of halves is too small
    if not grads:
        return True
    return bool(torch.isfinite(nn.utils.get_total_norm(grads)))


def names_of_bad_gradients(model: nn.Module, most: int = 5) -> list[str]:
    """The first parameters whose gradients are not finite."""
    named = ((n, _numbers(p.grad)) for n, p in model.named_parameters() if p.grad is not None)
    return [name for name, grad in named if not torch.isfinite(grad).all()][:most]


def _numbers(grad: Tensor) -> Tensor:
    return grad.coalesce().values() if grad.is_sparse else grad


class NormStatistics:
    """The running statistics of a network's batch norms, to go back to."""

    def __init__(self, model: nn.Module) -> None:
        normed = [m for m in model.modules() if "running_mean" in dict(m.named_buffers(recurse=False))]
        self.buffers = [b for m in normed for b in m.buffers(recurse=False)]
        self.kept = [b.clone() for b in self.buffers]

    def keep(self) -> None:
        """Remember them as they are."""
        self._copy(self.buffers, self.kept)

    def restore(self) -> None:
        """Go back to what was remembered."""
        self._copy(self.kept, self.buffers)

    @staticmethod
    def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
        with torch.no_grad():
            for source, target in zip(sources, targets, strict=True):
                target.copy_(source)
