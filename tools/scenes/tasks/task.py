"""What a task is: its group, its classes, and images with labels for each split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

SIZE = 64
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
COUNTS: dict[SplitName, int] = {"train": 800, "val": 200, "test": 400}


@dataclass
class Split:
    """Images (N, 64, 64, 3) uint8 and labels (N,) int64."""

    images: np.ndarray
    labels: np.ndarray


Draw = tuple[np.ndarray, int]
Sampler = Callable[[np.random.Generator, SplitName], Draw]


@dataclass(frozen=True)
class Task:
    """A task: its group, its classes, and where its images come from."""

    group: str
    classes: int
    make: Callable[[SplitName, int | None], Split]
