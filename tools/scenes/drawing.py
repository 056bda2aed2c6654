"""One scene: digits on a photograph, with the visible part of each."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scenes.styles import STYLES, Style

#: An instance keeps at least this share of its ink.
MIN_VISIBLE = 0.8
DIGITS_PER_SCENE = (5, 9)
#: Height of a digit's 8 x 8 bitmap in parts of the scene, and photograph pixels per scene pixel.
DIGIT_HEIGHT, PHOTOGRAPH_SCALE = (0.22, 0.34), (0.8, 2.0)


@dataclass
class Instance:
    """One digit in a scene."""

    label: int
    mask: np.ndarray


def _background(rng: np.random.Generator, photographs: list[np.ndarray], size: int) -> np.ndarray:
    photograph = photographs[rng.integers(len(photographs))]
    side = int(min(*photograph.shape[:2], size * rng.uniform(*PHOTOGRAPH_SCALE)))
    top, left = (int(rng.integers(n - side + 1)) for n in photograph.shape[:2])
    crop = photograph[top : top + side, left : left + side]
    scene = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
    return scene[:, ::-1].copy() if rng.random() < 0.5 else scene


def _stamp(rng: np.random.Generator, bitmap: np.ndarray, size: int) -> np.ndarray:
    """Opacity in [0, 1] of a digit drawn at random position, scale, aspect and tilt on a (size, size) canvas."""
    height = size * rng.uniform(*DIGIT_HEIGHT)
    scale = np.array([height / 8 * rng.uniform(0.8, 1.1), height / 8])
    angle = np.deg2rad(rng.uniform(-15, 15))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn * scale
    centre = rng.uniform(0.45 * height, size - 0.45 * height, 2)
    matrix = np.column_stack([linear, centre - linear @ np.array([3.5, 3.5])])
    opacity = cv2.warpAffine(bitmap.astype(np.float32), matrix, (size, size), flags=cv2.INTER_CUBIC)
    return np.clip(opacity * 2.2 - 0.5, 0, 1)


def _ink(rng: np.random.Generator, behind: np.ndarray, style: Style) -> np.ndarray:
    """A colour that contrasts with the mean of what it will cover."""
    while True:
        colour = rng.uniform(*style.ink)
        if abs(float((colour - behind) @ (0.299, 0.587, 0.114))) >= style.contrast:
            return colour


def draw_scene(
    rng: np.random.Generator,
    photographs: list[np.ndarray],
    bitmaps: np.ndarray,
    labels: np.ndarray,
    size: int,
    digits: tuple[int, int] = DIGITS_PER_SCENE,
    style: str = "day",
) -> tuple[np.ndarray, list[Instance]]:
    """One scene, (size, size, 3) RGB, with so many digits (lowest and highest number), and its visible instances."""
    look = STYLES[style]
    scene = _background(rng, photographs, size) * np.float32(look.light)
    instances: list[Instance] = []
    ink: list[float] = []
    wanted = int(rng.integers(digits[0], digits[1] + 1))
    for _ in range(10 * wanted):
        if len(instances) == wanted:
            break
        choice = int(rng.integers(len(labels)))
        opacity = _stamp(rng, bitmaps[choice], size)
        mask = opacity > 0.5
        remaining = [i.mask & ~mask for i in instances]
        if not mask.any() or any(r.sum() < MIN_VISIBLE * a for r, a in zip(remaining, ink, strict=True)):
            continue  # it would hide an earlier digit: try another place
        for instance, visible in zip(instances, remaining, strict=True):
            instance.mask = visible
        opacity = opacity[..., None] * rng.uniform(0.85, 1.0)
        scene = scene * (1 - opacity) + _ink(rng, scene[mask].mean(0), look) * opacity
        instances.append(Instance(int(labels[choice]), mask))
        ink.append(float(mask.sum()))
    scene += rng.normal(0, look.noise, scene.shape)
    return np.clip(scene, 0, 255).astype(np.uint8), instances
