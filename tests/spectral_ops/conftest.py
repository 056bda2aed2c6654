"""Fixtures of the spectral_ops tests: seeded data on the CPU, the caches, a count of matrix products."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from spectral_ops.eigenvalues import _eigenvalues
from spectral_ops.transforms import _basis


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """``draw(*shape, dtype=float64)``: normal data on the CPU from a generator of its own."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return normal


@pytest.fixture
def caches() -> list:
    """Both constant caches, emptied."""
    found = [_basis.cache, _eigenvalues.cache]
    for cache in found:
        cache.cache_clear()
    return found


class _CountProducts(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def count_products() -> Callable[[Callable[[], object]], int]:
    """``count_products(call)``: the number of matrix products that ``call()`` runs."""

    def count(call: Callable[[], object]) -> int:
        with _CountProducts() as mode:
            call()
        return mode.count

    return count
