"""All tasks by name, and images without labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scenes.tasks import crops, given, rendered
from scenes.tasks.task import COUNTS, SPLITS, Sampler, Split, SplitName, Task
from scenes.tasks.tiles import NAMES, TILE, crop


def _drawn(stream: int, sampler: Sampler) -> Callable[[SplitName, int | None], Split]:
    """A split drawn from random numbers of its own; a smaller count is the larger one's beginning."""

    def make(split: SplitName, count: int | None) -> Split:
        rng = np.random.default_rng([stream, SPLITS.index(split)])
        draws = [sampler(rng, split) for _ in range(COUNTS[split] if count is None else count)]
        return Split(np.stack([d[0] for d in draws]), np.array([d[1] for d in draws], np.int64))

    return make


TASKS: dict[str, Task] = {
    "digits": Task("natural", 10, given.digits),
    "faces": Task("natural", 2, given.faces),
    "photographs": Task("natural", len(NAMES), _drawn(1, crops.photograph)),
    "textures": Task("specialised", 2 * len(crops.TEXTURES), _drawn(2, crops.texture)),
    "stain": Task("specialised", crops.STAIN_CLASSES, _drawn(3, crops.stain)),
    "count": Task("structured", rendered.COUNT_CLASSES, _drawn(4, rendered.count)),
    "location": Task("structured", 9, _drawn(5, rendered.location)),
    "orientation": Task("structured", rendered.ORIENTATIONS, _drawn(6, rendered.orientation)),
    "distance": Task("structured", rendered.DISTANCES, _drawn(7, rendered.distance)),
}


def unlabelled(count: int, seed: int = 0) -> np.ndarray:
    """Images for pre-training, (count, 64, 64, 3): crops of the photographs and rendered scenes, half and half.

    They come from the training tiles alone, by random numbers that no task uses.
    """
    rng = np.random.default_rng([100, seed])
    scenes = [rendered.count, rendered.location, rendered.orientation, rendered.distance]
    images = [crop(rng, "train", NAMES[i % len(NAMES)], (24, TILE)) for i in range(count // 2)]
    images += [scenes[i % len(scenes)](rng, "train")[0] for i in range(count - count // 2)]
    return np.stack(images)[rng.permutation(count)]
