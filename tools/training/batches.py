"""The training batches of a run, which start anywhere in it, for their random numbers follow from their place."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from timm.utils import random_seed
from torch import Tensor

from backbones.training.data import make_resumable


class Batches:
    """timm's loader of the training images, from any step on.

    The order of the images, their augmentation, and what a step draws (erasing, mixup, dropped paths, on the CPU and on
    GPUs) follow from the seed, the epoch, the step and the process.

    Args:
        loader: What timm's ``create_loader`` made.
        args: Those of tools/train_classifier.py.
    """

    def __init__(self, loader: Any, args: argparse.Namespace) -> None:
        self.loader, self.args = loader, args
        make_resumable(loader.loader, args.seed, args.rank, args.world_size)
        # timm erases a batch while the step before it is under way, and a resumed run has no such step.
        self.erase, loader.random_erasing = loader.random_erasing, None

    def __len__(self) -> int:
        return len(self.loader)

    def after(self, epoch: int, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch but for its first ``step``; the generators are seeded for the step of each."""
        inner, rank = self.loader.loader, self.args.rank
        inner.batch_sampler.epoch, inner.batch_sampler.skip = epoch, step
        if self.args.distributed:
            inner.sampler.set_epoch(epoch)
        else:
            inner.sampler.generator = torch.Generator().manual_seed(self._number(epoch, rank))
        for number, (images, targets) in enumerate(self.loader, step):
            random_seed(self._number(epoch, rank, number))
            yield images if self.erase is None else self.erase(images), targets

    def _number(self, epoch: int, *place: int) -> int:
        sequence = np.random.SeedSequence([self.args.seed, epoch], spawn_key=place)
        return int(sequence.generate_state(1)[0])
