"""Clouds, opaque and with soft edges, and their shadows."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from rs_scenes.fields import noise_field
from rs_scenes.optical import Light

#: Share of the picture that clouds cover, and how far shadows are from them, in pixels.
COVER, DISTANCE = (0.1, 0.5), (12, 30)
#: Reflectance of a cloud, and what its shadow leaves of the light.
WHITE, VARIATION, SHADE = (0.78, 0.79, 0.81), 0.06, 0.45
EDGE = 1.5


def cloud_opacity(rng: np.random.Generator, size: int, cover: float) -> np.ndarray:
    """Opacity, 0 to 1, (size, size), of clouds whose share is ``cover``: f_3 above its quantile, edges blurred."""
    field = noise_field(rng, size, 3)
    return gaussian_filter((field > np.quantile(field, 1 - cover)).astype(float), EDGE)


def put_clouds(
    rng: np.random.Generator, surface: np.ndarray, opacity: np.ndarray, light: Light, distance: float
) -> np.ndarray:
    """A reflectance (3, size, size) under clouds and their shadows, which fall away from the sun."""
    east, south, _ = light.towards()
    level = np.hypot(east, south)
    down, right = round(-south / level * distance), round(-east / level * distance)
    size = len(opacity)
    # Beyond the edge clouds go on as a mirror image, so that no bright border stays where shadows come in.
    wide = np.pad(opacity, abs(down) + abs(right), mode="symmetric")
    margin = abs(down) + abs(right)
    shade = wide[margin - down : margin - down + size, margin - right : margin - right + size]
    white = np.array(WHITE)[:, None, None] * (1 + VARIATION * noise_field(rng, size, 2.5))
    return surface * (1 - (1 - SHADE) * shade) * (1 - opacity) + white * opacity
