"""The random generators of Python, NumPy and torch: their states for a file, and seeds for one sample."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["Generators", "random_states", "seeded", "set_random_states"]


def random_states() -> dict[str, Any]:
    """The states of this process, in tensors and plain containers."""
    _, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Set what :func:`random_states` gave; those of GPUs only where there are as many."""
    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
    keys, *rest = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


@contextlib.contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Within it the generators of the CPU are seeded by ``key``, numbers of any size; after it they are as before.

    Example:
        >>> with seeded(0, 7):
        ...     first = torch.rand(1)
        >>> with seeded(0, 7):
        ...     print(bool(torch.rand(1) == first))
        True
    """
    before = _states()
    _seed(key)
    try:
        yield
    finally:
        _set(before)


class Generators:
    """Random numbers of their own, from a seed on, for what draws a few at a time.

    Args:
        key: Numbers of any size, as :func:`seeded` takes them.

    Example:
        >>> own = Generators(0, 7)
        >>> with own:
        ...     first = torch.rand(2)
        >>> with own:
        ...     second = torch.rand(2)
        >>> with seeded(0, 7):
        ...     print(torch.equal(torch.rand(4), torch.cat([first, second])))
        True
    """

    def __init__(self, *key: int) -> None:
        with seeded(*key):
            self._own = _states()

    def __enter__(self) -> None:
        self._before = _states()
        _set(self._own)

    def __exit__(self, *_: object) -> None:
        self._own = _states()
        _set(self._before)


def _states() -> tuple[Any, Any, torch.Tensor]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set(states: tuple[Any, Any, torch.Tensor]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def _seed(key: tuple[int, ...]) -> None:
    numbers = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(numbers[1])
    torch.default_generator.manual_seed(int(numbers[2]))  # torch.manual_seed would seed the GPUs, too
