"""Data loaders whose samples depend on the seed and their place in the stream, and that start anywhere in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from backbones.training.randomness import Generators, seeded
from backbones.training.stopping import leave_signals_to_the_parent

__all__ = ["Places", "Seeded", "make_resumable"]


class _Drawn(NamedTuple):
    """What a sampler drew, and where in the stream."""

    index: Any
    place: tuple[int, int]


class Places:
    """A batch sampler whose indices know their place: (epoch, number among the samples of all processes).

    What its sampler draws from the global generators follows from the seed and the epoch, in all processes alike.

    Attributes:
        epoch: That of the next pass.
        skip: How many batches the next pass leaves out at its start, without loading them.
        seed: That of the next pass.
    """

    def __init__(self, batches: Any, seed: int, rank: int, world_size: int) -> None:
        self.batches, self.seed, self.rank, self.world_size = batches, seed, rank, world_size
        self.epoch = self.skip = 0

    def __iter__(self) -> Iterator[list[_Drawn]]:
        epoch, skip, self.skip = self.epoch, self.skip, 0
        count = 0
        for number, batch in enumerate(self._drawn(epoch)):
            first, count = count, count + len(batch)
            if number >= skip:
                places = range(first * self.world_size + self.rank, count * self.world_size, self.world_size)
                yield [_Drawn(index, (epoch, place)) for index, place in zip(batch, places, strict=True)]

    def _drawn(self, epoch: int) -> Iterator[Any]:
        own, end = Generators(self.seed, epoch, 0, 1), object()  # no sample has this key
        batches = iter(self.batches)
        while True:
            with own:
                batch = next(batches, end)
            if batch is end:
                return
            yield batch

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["batches"], name)  # its sampler, for those who set epochs


class Seeded(Dataset[Any]):
    """A dataset that seeds the random generators for each sample; everything else of it is the inner one's."""

    _OWN = frozenset({"dataset", "seed"})

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, drawn: _Drawn) -> Any:
        with seeded(self.seed, *drawn.place):
            return self.dataset[drawn.index]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "dataset" not in self.__dict__:  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self.dataset, name, value)


def make_resumable(loader: DataLoader[Any], seed: int, rank: int = 0, world_size: int = 1) -> bool:
    """Make a loader's samples depend on ``seed`` and their place alone, for any number of workers.

    Afterwards ``loader.batch_sampler`` is :class:`Places`, whose ``epoch`` and ``skip`` say where the next pass starts,
    and ``loader.dataset`` is :class:`Seeded`. Iterating over it draws nothing from the global generators.

    What augmentation remembers from one sample to the next (caches of mosaics) is beyond this, as are generators that
    transforms keep themselves.

    Returns:
        Whether it could be done: not for iterable datasets, and loaders without batches.
    """
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        return False
    # The loader forbids to set these, for its sampler would not follow; here it does.
    object.__setattr__(loader, "batch_sampler", Places(loader.batch_sampler, seed, rank, world_size))
    object.__setattr__(loader, "dataset", Seeded(loader.dataset, seed))
    loader.generator = torch.Generator().manual_seed(seed % 2**63)
    leave_signals_to_the_parent(loader)
    return True
