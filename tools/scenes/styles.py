"""How scenes look: photographs, light, ink, contrast and noise of each style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scenes.photographs import day, night


@dataclass(frozen=True)
class Style:
    """How scenes look.

    Attributes:
        photographs: Loads the backgrounds, (H, W, 3) or (H, W) uint8 arrays, RGB.
        light: What the photographs' channels are multiplied by.
        ink: Lowest and highest colour of digits, RGB.
        contrast: A digit's luminance differs at least by this from the mean of what is behind it.
        noise: Standard deviation of the noise over everything.
    """

    photographs: Callable[[], list[np.ndarray]]
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ink: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0, 0, 0), (255, 255, 255))
    contrast: float = 100
    noise: float = 4


STYLES = {
    "day": Style(day),
    "night": Style(night, light=(0.3, 0.35, 0.55), ink=((20, 20, 20), (180, 180, 180)), contrast=45, noise=8),
}


def load_photographs(style: str = "day") -> list[np.ndarray]:
    """The photographs of a style as (H, W, 3) uint8 arrays in RGB."""
    from skimage import color

    images = STYLES[style].photographs()
    return [np.ascontiguousarray(color.gray2rgb(i) if i.ndim == 2 else i[..., :3]).astype(np.uint8) for i in images]
