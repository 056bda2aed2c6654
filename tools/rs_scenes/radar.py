"""The SAR-like picture: backscatter of covers, local incidence, texture, speckle, strong scatterers.

Not modelled: layover, foreshortening, radar shadow, side lobes, motion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import gammaincinv, ndtr

from rs_scenes.cover import BUILDING, CROP, GRASS, table
from rs_scenes.fields import moved
from rs_scenes.layout import Layout
from rs_scenes.objects import Target

#: Incidence on level ground in degrees, and the power of the cosine of the local one.
INCIDENCE, FALL = 38.0, 1.5
LOOKS, BLUR = 5, 0.45
#: Distance over which texture goes together, in pixels.
GRAIN = 3.0
FLOOR, CLIP = -26.0, (-30.0, 5.0)
BANDS = ("VV", "VH")
#: In dB: what a field's moisture changes, what a wall that faces the sensor adds, and yards' brightness in towns.
MOISTURE, BOUNCE, YARD = 2.0, 6.0, -11.0
#: Strong scatterers of a ship or aircraft: how many, their power in dB spread over the point's response, its blur.
SCATTERERS, STRENGTH, POINT, BODY = (3, 6), (4.0, 14.0), 0.7, {"ship": -6.0, "aircraft": -13.0}


def speckle(rng: np.random.Generator, size: int, looks: int = LOOKS) -> np.ndarray:
    """The mean of ``looks`` fields |CN(0, 1)|^2, each blurred by 0.45 px before squaring: mean 1, variance 1/looks."""
    point = np.zeros((9, 9))
    point[4, 4] = 1
    energy = (gaussian_filter(point, BLUR) ** 2).sum()
    power = np.zeros((size, size))
    for _ in range(looks):
        for part in rng.standard_normal((2, size, size)):
            power += gaussian_filter(part, BLUR, mode="wrap") ** 2
    return power / (2 * looks * energy)


def texture(rng: np.random.Generator, order: np.ndarray) -> np.ndarray:
    """Gamma(nu, 1 / nu) at each pixel, nu = ``order``, going together over some pixels: mean 1, variance 1 / nu.

    The quantiles of a blurred normal field; real texture is no white noise, and the equivalent number of looks in small
    windows shows it.
    """
    normal = gaussian_filter(rng.standard_normal(order.shape), GRAIN, mode="wrap")
    return gammaincinv(order, ndtr(normal / normal.std())) / order


def local_incidence(ground: np.ndarray, look: int) -> np.ndarray:
    """(cos local / cos 38 deg)^1.5 of a sensor that looks to the right (``look`` = 1) or left (-1); 1 where level."""
    down, right = np.gradient(ground)
    theta = np.deg2rad(INCIDENCE)
    cosine = (np.cos(theta) + look * right * np.sin(theta)) / np.sqrt(1 + right**2 + down**2)
    return (np.clip(cosine, 0.05, 1) / np.cos(theta)) ** FALL


def walls(labels: np.ndarray, look: int) -> np.ndarray:
    """The ground before walls that face the sensor: the last pixel before a building, as it looks."""
    building = labels == BUILDING
    return moved(building, 0, -look) & ~building


def backscatter(layout: Layout, moisture: np.ndarray, look: int) -> np.ndarray:
    """Mean power of VV and VH, (2, size, size), without texture, speckle, ships and aircraft."""
    labels, plan = layout.labels, layout.plan
    vv = table("vv")[labels]
    vv = vv + MOISTURE * moisture[plan.cell] * (labels == CROP)
    vv[layout.town & (labels == GRASS)] = YARD
    vv = vv + BOUNCE * walls(labels, look)
    db = np.stack([vv, vv - table("drop")[labels]])
    return 10 ** (db / 10) * local_incidence(layout.ground, look)


def _scatterers(rng: np.random.Generator, target: Target, size: int) -> np.ndarray:
    """Power of a target in VV: its body's, and that of a few strong points along and, in wings, across it."""
    out = target.coverage(size, 4) * 10 ** (BODY[target.kind] / 10)
    points = np.zeros((size, size))
    number = int(rng.integers(SCATTERERS[0], SCATTERERS[1] + 1))
    along = np.linspace(-0.4, 0.4, number)
    across = rng.uniform(-0.2, 0.2, number)
    if target.kind == "aircraft":  # two of them are the wings' ends
        along[:2], across[:2] = -0.09, (-0.42, 0.42)
    for x, y in target.to_picture(np.stack([along, across], -1)):
        points[int(np.clip(y, 0, size - 1)), int(np.clip(x, 0, size - 1))] += 10 ** (rng.uniform(*STRENGTH) / 10)
    return out + gaussian_filter(points, POINT)


def radar_picture(
    rng: np.random.Generator, layout: Layout, moisture: np.ndarray, targets: Sequence[Target], look: int
) -> np.ndarray:
    """VV and VH in dB, (size, size, 2) float32 in [-30, 5], in steps of 0.01 dB."""
    size = len(layout.labels)
    power = backscatter(layout, moisture, look)
    power = power * texture(rng, table("order")[layout.labels])
    for target in targets:
        strong = _scatterers(rng, target, size)
        power = power + np.stack([strong, strong * 10**-0.8])
    floor = 10 ** (FLOOR / 10)
    seen = np.stack([speckle(rng, size) * (band + floor) for band in power])
    db = np.clip(10 * np.log10(seen), *CLIP)
    return np.moveaxis(db, 0, -1).round(2).astype(np.float32)
