"""Tasks that ask what a crop of a photograph shows."""

from __future__ import annotations

from functools import cache

import numpy as np

from scenes.tasks.task import SIZE, Draw, SplitName
from scenes.tasks.tiles import NAMES, TILE, crop

TEXTURES = ["brick", "grass", "gravel"]
#: Staining is told apart at these quartiles of the training tiles' crops.
STAIN_CLASSES, STAIN = 4, "immunohistochemistry"


def _grey(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Without colour, and with random contrast and brightness, which would tell photographs apart."""
    grey = image @ np.array([0.299, 0.587, 0.114])
    grey = 127.5 + (grey - grey.mean()) / max(grey.std(), 5) * rng.uniform(25, 50) + rng.uniform(-25, 25)
    return np.repeat(np.clip(grey, 0, 255)[..., None], 3, axis=-1).astype(np.uint8)


def photograph(rng: np.random.Generator, split: SplitName) -> Draw:
    label = int(rng.integers(len(NAMES)))
    return _grey(rng, crop(rng, split, NAMES[label], (40, TILE))), label


def texture(rng: np.random.Generator, split: SplitName) -> Draw:
    """Brick, grass or gravel, at one of two magnifications."""
    texture, near = int(rng.integers(len(TEXTURES))), int(rng.integers(2))
    image = crop(rng, split, TEXTURES[texture], (28, 36) if near else (56, TILE))
    noise = rng.normal(0, 12, (SIZE, SIZE, 1))  # hides the blur that magnifying leaves
    return np.clip(_grey(rng, image) + noise, 0, 255).astype(np.uint8), 2 * texture + near


def _stain_amount(image: np.ndarray) -> float:
    from skimage.color import rgb2hed

    return float(rgb2hed(image)[..., 2].mean())


@cache
def _stain_quartiles() -> np.ndarray:
    rng = np.random.default_rng(0)
    amounts = [_stain_amount(crop(rng, "train", STAIN, (32, 56))) for _ in range(400)]
    return np.quantile(amounts, np.arange(1, STAIN_CLASSES) / STAIN_CLASSES)


def stain(rng: np.random.Generator, split: SplitName) -> Draw:
    """How much brown (DAB) a piece of tissue took up; its brightness is made random, its hue is not."""
    image = crop(rng, split, STAIN, (32, 56))
    label = int(np.searchsorted(_stain_quartiles(), _stain_amount(image)))
    return (255 * (image / 255) ** rng.uniform(0.7, 1.4)).astype(np.uint8), label
