"""Tasks that ask about objects rendered on photographs."""

from __future__ import annotations

import cv2
import numpy as np

from scenes.tasks.task import SIZE, Draw, SplitName
from scenes.tasks.tiles import NAMES, TILE, crop

ORIENTATIONS, COUNT_CLASSES, DISTANCES = 8, 5, 4


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


def count(rng: np.random.Generator, split: SplitName) -> Draw:
    """One to five discs."""
    image, label = _background(rng, split), int(rng.integers(COUNT_CLASSES))
    radii = list(rng.uniform(4, 8, label + 1))
    for centre, radius in zip(_apart(rng, radii), radii, strict=True):
        _paint(rng, image, _ellipse(centre, (radius, radius), 0))
    return _finish(image), label


def location(rng: np.random.Generator, split: SplitName) -> Draw:
    """The cell of a 3 x 3 grid that holds the centre of a disc."""
    image, label = _background(rng, split), int(rng.integers(9))
    cell = np.array([label % 3, label // 3])
    centre = (cell + rng.uniform(0.05, 0.95, 2)) * SIZE / 3
    radius = rng.uniform(4, 8)
    _paint(rng, image, _ellipse(centre, (radius, radius), 0))
    return _finish(image), label


def orientation(rng: np.random.Generator, split: SplitName) -> Draw:
    """One of eight directions of an elongated ellipse, with some tilt beside it."""
    image, label = _background(rng, split), int(rng.integers(ORIENTATIONS))
    angle = (label + rng.uniform(-0.35, 0.35)) * np.pi / ORIENTATIONS
    centre = rng.uniform(0.35 * SIZE, 0.65 * SIZE, 2)
    _paint(rng, image, _ellipse(centre, (rng.uniform(13, 20), rng.uniform(4, 6)), angle))
    return _finish(image), label


def distance(rng: np.random.Generator, split: SplitName) -> Draw:
    """How far the nearest of one to three equal balls is: the near ones are larger, the far ones hazy."""
    image, label = _background(rng, split), int(rng.integers(DISTANCES))
    nearest = 1.5 ** (label + rng.uniform(0.1, 0.9))
    depths = [nearest * rng.uniform(1.0, 2.0) for _ in range(int(rng.integers(3)))] + [nearest]
    radii = [16 / depth for depth in depths]
    for centre, radius, depth in sorted(zip(_apart(rng, radii), radii, depths, strict=True), key=lambda b: -b[2]):
        _paint(rng, image, _ellipse(centre, (radius, radius), 0), clear=float(np.exp(-0.06 * depth)))
    return _finish(image), label
