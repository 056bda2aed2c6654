"""The optical picture: reflectance, texture, light, shadows, blur and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from rs_scenes.cover import BUILDING, CROP, DRY_CROP, FOREST, ROOFS, table
from rs_scenes.fields import moved, noise_field
from rs_scenes.layout import Layout
from rs_scenes.objects import Target

BLUR, NOISE, GAMMA = 0.7, 0.006, 1 / 1.8
#: Period of furrows in pixels, and how much they darken and lighten a green field.
FURROWS, FURROW_DEPTH = 4.5, 0.12
SHADOW = 0.45
#: Reflectance of ships, of aircraft, and how far it varies.
HULLS, AIRFRAME, VARIATION = ((0.12, 0.12, 0.13), (0.35, 0.34, 0.33), (0.28, 0.12, 0.10)), (0.55, 0.55, 0.56), 0.15


@dataclass(frozen=True)
class Light:
    """What differs between two dates and is no land cover.

    Attributes:
        azimuth: Of the sun, in degrees from north (up) over east (right).
        elevation: Of the sun, in degrees.
        gain: What all reflectances are multiplied by.
        offset: Rows and columns, less than a pixel, by which the picture is moved.
    """

    azimuth: float = 315.0
    elevation: float = 45.0
    gain: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)

    def towards(self) -> tuple[float, float, float]:
        """The unit vector to the sun: right, down, up."""
        azimuth, elevation = np.deg2rad(self.azimuth), np.deg2rad(self.elevation)
        level = np.cos(elevation)
        return level * np.sin(azimuth), -level * np.cos(azimuth), np.sin(elevation)


def hillshade(ground: np.ndarray, light: Light) -> np.ndarray:
    """Irradiance of the ground over that of level ground: cos(incidence) / sin(elevation), not below 0.2."""
    down, right = np.gradient(ground)
    east, south, up = light.towards()
    cosine = (up - right * east - down * south) / np.sqrt(1 + right**2 + down**2)
    return np.maximum(cosine / up, 0.2)


def shadows(labels: np.ndarray, light: Light) -> np.ndarray:
    """Where buildings (2 px high) and forest's edges (1 px) throw shadows, (H, W) bool."""
    east, south, up = light.towards()
    out = np.zeros(labels.shape, bool)
    for cover, height in ((BUILDING, 2), (FOREST, 1)):
        tall = labels == cover
        for step in np.arange(0.5, height + 0.5, 0.5):
            dark = moved(tall, round(-south * step / up), round(-east * step / up))
            out |= dark & ~tall & (labels != BUILDING)
    return out


def reflectance(
    rng: np.random.Generator, layout: Layout, dryness: np.ndarray, targets: Sequence[Target], light: Light
) -> np.ndarray:
    """Red, green and blue before the instrument, (3, size, size)."""
    plan, labels = layout.plan, layout.labels
    size = len(labels)
    out = table("reflectance")[labels]
    dry = dryness[plan.cell][..., None]
    crop = out * (1 - dry) + np.array(DRY_CROP) * dry
    y, x = np.mgrid[:size, :size]
    direction = plan.rows[plan.cell]
    furrows = np.sin(2 * np.pi * (x * np.cos(direction) + y * np.sin(direction)) / FURROWS)
    crop *= 1 + FURROW_DEPTH * (furrows * (dryness[plan.cell] < 1))[..., None]
    out = np.where((labels == CROP)[..., None], crop, out)
    out = np.where((labels == BUILDING)[..., None], np.array(ROOFS)[plan.roof[plan.plot]], out)
    out *= np.exp(table("roughness")[labels] * noise_field(rng, size, 1.6))[..., None]
    out *= hillshade(layout.ground, light)[..., None]
    out *= np.where(shadows(labels, light), SHADOW, 1)[..., None]
    for target in targets:
        colour = HULLS[rng.integers(len(HULLS))] if target.kind == "ship" else AIRFRAME
        cover = target.coverage(size, 4)[..., None]
        out = out * (1 - cover) + cover * np.array(colour) * rng.uniform(1 - VARIATION, 1 + VARIATION)
    return np.moveaxis(out, -1, 0) * light.gain


def expose(rng: np.random.Generator, surface: np.ndarray, light: Light) -> np.ndarray:
    """The picture of a reflectance (3, size, size): blur, offset, noise, 255 rho^(1 / 1.8); (size, size, 3) uint8."""
    seen = gaussian_filter(surface, (0, BLUR, BLUR))
    if any(light.offset):
        seen = shift(seen, (0, *light.offset), order=1, mode="nearest")
    seen = seen + rng.normal(0, NOISE, seen.shape)
    return np.moveaxis((255 * np.clip(seen, 0, 1) ** GAMMA).round().astype(np.uint8), 0, -1)


def to_reflectance(picture: np.ndarray) -> np.ndarray:
    """Reflectance (size, size, 3) of a picture, but for rounding: (value / 255)^1.8."""
    return (picture / 255.0) ** (1 / GAMMA)
