"""Land cover: the classes of the label maps, what they look like in the optical and in the radar band."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Cover(NamedTuple):
    """A class of land cover.

    Attributes:
        name: Of the class in label maps.
        reflectance: Red, green and blue.
        roughness: a in the optical texture exp(a f_1.6).
        vv: Mean backscatter in dB, at 38 degrees of incidence.
        drop: VV - VH in dB.
        order: nu of the radar texture Gamma(nu, 1 / nu).
    """

    name: str
    reflectance: tuple[float, float, float]
    roughness: float
    vv: float
    drop: float
    order: float


WATER, FOREST, CROP, GRASS, BARE, ROAD, BUILDING = range(7)
#: By the values of the label maps.
COVERS = (
    Cover("water", (0.03, 0.06, 0.09), 0.06, -17.5, 5.6, 60),
    Cover("forest", (0.04, 0.08, 0.03), 0.28, -8.0, 5.6, 7),
    Cover("crop", (0.09, 0.17, 0.06), 0.10, -12.0, 5.8, 14),
    Cover("grass", (0.13, 0.18, 0.08), 0.14, -11.0, 5.4, 12),
    Cover("bare", (0.32, 0.25, 0.18), 0.12, -13.5, 6.2, 14),
    Cover("road", (0.15, 0.15, 0.15), 0.06, -18.0, 5.2, 20),
    Cover("building", (0.32, 0.25, 0.18), 0.10, -7.0, 6.0, 1.5),
)
NAMES = tuple(cover.name for cover in COVERS)
#: A field that is ripe looks like bare ground, and one roof in three, too: radar tells them apart.
DRY_CROP = (0.34, 0.27, 0.17)
ROOFS = ((0.32, 0.25, 0.18), (0.30, 0.13, 0.09), (0.38, 0.38, 0.40))


def table(field: str) -> np.ndarray:
    """A column of :data:`COVERS`, to be indexed with a label map."""
    return np.array([getattr(cover, field) for cover in COVERS], np.float64)
