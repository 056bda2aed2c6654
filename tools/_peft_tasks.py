"""Nine small image-classification tasks in three groups, from what ships inside scikit-image and scikit-learn.

Every task has fixed training, validation and test images of 64 x 64. What they are made of is split first, so that no
pixel of a test image's source is seen in training, validation or pre-training:

* photographs are cut into tiles with a gap between, each tile belongs to one split, and every crop, also as the
  background of a rendered scene, lies inside a tile;
* handwritten digits are split by bitmap (repeats removed), faces by picture. Whether two of the bundle's faces show
  one person is not known. Faces are 200 pictures in all, so that task is smaller.

The training crops of one tile overlap one another: 800 images of few photographs carry less than 800 independent ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import cv2
import numpy as np
from make_digit_scenes import PHOTOGRAPHS, load_digits, load_photographs

SIZE = 64
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
COUNTS: dict[SplitName, int] = {"train": 800, "val": 200, "test": 400}
#: Of 200 faces and non-faces.
FACE_COUNTS: dict[SplitName, int] = {"train": 100, "val": 40, "test": 60}
#: Side of a tile and the gap to the next one, in photograph pixels; part of the tiles each split gets.
TILE, GAP = 72, 4
SHARES: dict[SplitName, float] = {"train": 0.6, "val": 0.15, "test": 0.25}
NAMES = [*PHOTOGRAPHS, "china", "flower"]
TEXTURES = ["brick", "grass", "gravel"]
#: Staining is told apart at these quartiles of the training tiles' crops.
STAIN_CLASSES, STAIN = 4, "immunohistochemistry"
ORIENTATIONS, COUNT_CLASSES, DISTANCES = 8, 5, 4


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


# -- photographs and their tiles --------------------------------------------------------------------------------------


def split_tiles(height: int, width: int, seed: int) -> dict[SplitName, list[tuple[int, int]]]:
    """Top-left corners of the (TILE, TILE) tiles of a photograph that belong to each split."""
    pitch = TILE + GAP
    corners = [(y, x) for y in range(0, height - TILE + 1, pitch) for x in range(0, width - TILE + 1, pitch)]
    order = np.random.default_rng(seed).permutation(len(corners))
    train_end = round(SHARES["train"] * len(corners))
    val_end = train_end + round(SHARES["val"] * len(corners))
    parts = (order[:train_end], order[train_end:val_end], order[val_end:])
    return {split: [corners[i] for i in part] for split, part in zip(SPLITS, parts, strict=True)}


@cache
def tiles(split: SplitName) -> dict[str, list[np.ndarray]]:
    """The tiles of every photograph that belong to a split, by the photograph's name."""
    found = {}
    for seed, (name, image) in enumerate(zip(NAMES, load_photographs(), strict=True)):
        corners = split_tiles(*image.shape[:2], seed)[split]
        found[name] = [image[y : y + TILE, x : x + TILE] for y, x in corners]
    return found


def crop(rng: np.random.Generator, split: SplitName, name: str, sides: tuple[int, int]) -> np.ndarray:
    """A square crop of a photograph, its side out of the inclusive range, flipped at random and resized to SIZE."""
    own = tiles(split)[name]
    tile = own[rng.integers(len(own))]
    side = int(rng.integers(sides[0], sides[1] + 1))
    top, left = rng.integers(TILE - side + 1, size=2)
    part = tile[top : top + side, left : left + side]
    part = cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA if side > SIZE else cv2.INTER_CUBIC)
    return part[:, ::-1] if rng.random() < 0.5 else part


def _grey(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Without colour, and with random contrast and brightness, which would tell photographs apart."""
    grey = image @ np.array([0.299, 0.587, 0.114])
    grey = 127.5 + (grey - grey.mean()) / max(grey.std(), 5) * rng.uniform(25, 50) + rng.uniform(-25, 25)
    return np.repeat(np.clip(grey, 0, 255)[..., None], 3, axis=-1).astype(np.uint8)


def _photograph(rng: np.random.Generator, split: SplitName) -> Draw:
    label = int(rng.integers(len(NAMES)))
    return _grey(rng, crop(rng, split, NAMES[label], (40, TILE))), label


def _texture(rng: np.random.Generator, split: SplitName) -> Draw:
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


def _stain(rng: np.random.Generator, split: SplitName) -> Draw:
    """How much brown (DAB) a piece of tissue took up; its brightness is made random, its hue is not."""
    image = crop(rng, split, STAIN, (32, 56))
    label = int(np.searchsorted(_stain_quartiles(), _stain_amount(image)))
    return (255 * (image / 255) ** rng.uniform(0.7, 1.4)).astype(np.uint8), label


# -- rendered objects on photographs ----------------------------------------------------------------------------------


def _background(rng: np.random.Generator, split: SplitName) -> np.ndarray:
    return crop(rng, split, NAMES[rng.integers(len(NAMES))], (40, TILE)).astype(np.float32)


def _paint(rng: np.random.Generator, image: np.ndarray, points: np.ndarray, clear: float = 1.0) -> None:
    """Fill a convex polygon of (N, 2) xy points with a colour unlike what is behind it; ``clear`` is its opacity."""
    mask = np.zeros((4 * SIZE, 4 * SIZE), np.uint8)
    cv2.fillConvexPoly(mask, np.round(4 * points).astype(np.int32), 255)
    opacity = cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., None] / 255
    behind = float((image * opacity).sum() / max(3 * opacity.sum(), 1e-6))
    colour = rng.uniform(0, 90, 3) if behind > 127 else rng.uniform(165, 255, 3)
    image += clear * opacity * (colour - image)


def _ellipse(centre: np.ndarray, axes: tuple[float, float], angle: float) -> np.ndarray:
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    flat = np.stack([axes[0] * np.cos(turns), axes[1] * np.sin(turns)])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return centre + (turn @ flat).T


def _finish(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)


def _apart(rng: np.random.Generator, radii: list[float]) -> list[np.ndarray]:
    """Random centres at which discs of these radii do not touch."""
    while True:
        centres: list[np.ndarray] = []
        for radius in radii:
            for _ in range(50):
                centre = rng.uniform(radius + 1, SIZE - radius - 1, 2)
                pairs = zip(centres, radii, strict=False)
                if all(np.hypot(*(centre - other)) > radius + r + 2 for other, r in pairs):
                    centres.append(centre)
                    break
        if len(centres) == len(radii):
            return centres


def _count(rng: np.random.Generator, split: SplitName) -> Draw:
    """One to five discs."""
    image, label = _background(rng, split), int(rng.integers(COUNT_CLASSES))
    radii = list(rng.uniform(4, 8, label + 1))
    for centre, radius in zip(_apart(rng, radii), radii, strict=True):
        _paint(rng, image, _ellipse(centre, (radius, radius), 0))
    return _finish(image), label


def _location(rng: np.random.Generator, split: SplitName) -> Draw:
    """The cell of a 3 x 3 grid that holds the centre of a disc."""
    image, label = _background(rng, split), int(rng.integers(9))
    cell = np.array([label % 3, label // 3])
    centre = (cell + rng.uniform(0.05, 0.95, 2)) * SIZE / 3
    radius = rng.uniform(4, 8)
    _paint(rng, image, _ellipse(centre, (radius, radius), 0))
    return _finish(image), label


def _orientation(rng: np.random.Generator, split: SplitName) -> Draw:
    """One of eight directions of an elongated ellipse, with some tilt beside it."""
    image, label = _background(rng, split), int(rng.integers(ORIENTATIONS))
    angle = (label + rng.uniform(-0.35, 0.35)) * np.pi / ORIENTATIONS
    centre = rng.uniform(0.35 * SIZE, 0.65 * SIZE, 2)
    _paint(rng, image, _ellipse(centre, (rng.uniform(13, 20), rng.uniform(4, 6)), angle))
    return _finish(image), label


def _distance(rng: np.random.Generator, split: SplitName) -> Draw:
    """How far the nearest of one to three equal balls is: the near ones are larger, the far ones hazy."""
    image, label = _background(rng, split), int(rng.integers(DISTANCES))
    nearest = 1.5 ** (label + rng.uniform(0.1, 0.9))
    depths = [nearest * rng.uniform(1.0, 2.0) for _ in range(int(rng.integers(3)))] + [nearest]
    radii = [16 / depth for depth in depths]
    for centre, radius, depth in sorted(zip(_apart(rng, radii), radii, depths, strict=True), key=lambda b: -b[2]):
        _paint(rng, image, _ellipse(centre, (radius, radius), 0), clear=float(np.exp(-0.06 * depth)))
    return _finish(image), label


# -- pictures that are given ------------------------------------------------------------------------------------------


def _given(images: np.ndarray, labels: np.ndarray, counts: dict[SplitName, int], split: SplitName) -> Split:
    """A split of (N, h, w) pictures in [0, 1], enlarged to SIZE; disjoint, and a function of the counts alone."""
    order = np.random.default_rng(0).permutation(len(images))
    start = sum(counts[s] for s in SPLITS[: SPLITS.index(split)])
    own = order[start : start + counts[split]]
    large = [cv2.resize(images[i].astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for i in own]
    grey = np.clip(255 * np.stack(large), 0, 255).astype(np.uint8)
    return Split(np.repeat(grey[..., None], 3, axis=-1), labels[own].astype(np.int64))


def _digits(split: SplitName, count: int | None) -> Split:
    images, labels = load_digits()
    return _head(_given(images, labels, COUNTS, split), count)


def _faces(split: SplitName, count: int | None) -> Split:
    from skimage import data

    images = data.lfw_subset()  # 100 faces, then 100 others
    return _head(_given(images, np.repeat([1, 0], 100), FACE_COUNTS, split), count)


def _head(whole: Split, count: int | None) -> Split:
    return Split(whole.images[:count], whole.labels[:count])


def _drawn(stream: int, sampler: Sampler) -> Callable[[SplitName, int | None], Split]:
    """A split drawn from random numbers of its own; a smaller count is the larger one's beginning."""

    def make(split: SplitName, count: int | None) -> Split:
        rng = np.random.default_rng([stream, SPLITS.index(split)])
        draws = [sampler(rng, split) for _ in range(COUNTS[split] if count is None else count)]
        return Split(np.stack([d[0] for d in draws]), np.array([d[1] for d in draws], np.int64))

    return make


TASKS: dict[str, Task] = {
    "digits": Task("natural", 10, _digits),
    "faces": Task("natural", 2, _faces),
    "photographs": Task("natural", len(NAMES), _drawn(1, _photograph)),
    "textures": Task("specialised", 2 * len(TEXTURES), _drawn(2, _texture)),
    "stain": Task("specialised", STAIN_CLASSES, _drawn(3, _stain)),
    "count": Task("structured", COUNT_CLASSES, _drawn(4, _count)),
    "location": Task("structured", 9, _drawn(5, _location)),
    "orientation": Task("structured", ORIENTATIONS, _drawn(6, _orientation)),
    "distance": Task("structured", DISTANCES, _drawn(7, _distance)),
}


def unlabelled(count: int, seed: int = 0) -> np.ndarray:
    """Images for pre-training, (count, 64, 64, 3): crops of the photographs and rendered scenes, half and half.

    They come from the training tiles alone, by random numbers that no task uses.
    """
    rng = np.random.default_rng([100, seed])
    scenes = [_count, _location, _orientation, _distance]
    images = [crop(rng, "train", NAMES[i % len(NAMES)], (24, TILE)) for i in range(count // 2)]
    images += [scenes[i % len(scenes)](rng, "train")[0] for i in range(count - count // 2)]
    return np.stack(images)[rng.permutation(count)]
