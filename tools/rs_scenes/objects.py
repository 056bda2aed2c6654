"""Ships and aircraft: outlines, masks, and their horizontal and oriented boxes.

Coordinates are continuous: the pixel in column i and row j covers [i, i + 1) x [j, j + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from rs_scenes.cover import ROAD, WATER
from rs_scenes.layout import Layout

#: Categories, with ids from 1 in COCO's files.
KINDS = ("ship", "aircraft")
#: Lengths in pixels, of ships also over their width, and of aircraft's span over their length.
LENGTH = {"ship": (8, 24), "aircraft": (12, 22)}
SLENDER, SPAN, NARROWEST = (3, 6), (0.8, 0.98), 2.5
#: How many are tried for, lowest and highest, and how many pixels round each stay free.
WANTED = {"ship": (2, 8), "aircraft": (3, 8)}
CLEAR = 2
#: Outline of a ship, in lengths from stern (-0.5) to bow (0.5) and in widths across.
HULL = np.array([(-0.5, -0.4), (-0.4, -0.5), (0.25, -0.5), (0.5, 0), (0.25, 0.5), (-0.4, 0.5), (-0.5, 0.4)])
#: Fuselage, swept wings and tail, in lengths along and in spans across.
AIRCRAFT = (
    np.array([(-0.5, -0.06), (0.4, -0.09), (0.5, 0), (0.4, 0.09), (-0.5, 0.06)]),
    np.array([(-0.16, -0.5), (-0.02, -0.5), (0.2, 0), (-0.02, 0.5), (-0.16, 0.5), (-0.04, 0)]),
    np.array([(-0.5, -0.2), (-0.4, -0.2), (-0.28, 0), (-0.4, 0.2), (-0.5, 0.2), (-0.42, 0)]),
)


@dataclass(frozen=True)
class Target:
    """A ship or an aircraft.

    Attributes:
        kind: One of :data:`KINDS`.
        centre: x and y.
        length: Of the side along the heading, in pixels.
        width: Of the side across.
        heading: Radians from the x axis towards the y axis, which is clockwise in the picture.
    """

    kind: str
    centre: tuple[float, float]
    length: float
    width: float
    heading: float

    def to_picture(self, local: np.ndarray) -> np.ndarray:
        """Points (N, 2) given in lengths along and widths across, as x and y."""
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        along, across = local[:, 0] * self.length, local[:, 1] * self.width
        return np.stack([along * cos - across * sin, along * sin + across * cos], -1) + self.centre

    def corners(self) -> np.ndarray:
        """The oriented box's corners, (4, 2): stern left, bow left, bow right, stern right."""
        return self.to_picture(np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]))

    def rotated(self) -> tuple[float, float, float, float, float]:
        """Centre x and y, longer side, shorter side, and the angle of the longer from the x axis, in [-pi/2, pi/2).

        The angle is in radians and counts clockwise in the picture: mmrotate's "le90".
        """
        angle = (self.heading + np.pi / 2) % np.pi - np.pi / 2
        return (*self.centre, self.length, self.width, float(angle))

    def coverage(self, size: int, fine: int = 1) -> np.ndarray:
        """Share of each pixel that the outline covers, (size, size), from fine x fine points in each.

        With ``fine`` = 1 it is the mask: whether the centre of the pixel is inside.
        """
        out = np.zeros((size, size))
        corners = self.corners()
        left, top = np.clip(np.floor(corners.min(0)).astype(int), 0, size)
        right, bottom = np.clip(np.ceil(corners.max(0)).astype(int), 0, size)
        if right <= left or bottom <= top:
            return out
        x = left + (np.arange((right - left) * fine) + 0.5) / fine
        y = top + (np.arange((bottom - top) * fine) + 0.5) / fine
        parts = (HULL,) if self.kind == "ship" else AIRCRAFT
        inside = np.any([_inside(self.to_picture(part), x, y) for part in parts], 0)
        out[top:bottom, left:right] = inside.reshape(bottom - top, fine, right - left, fine).mean((1, 3))
        return out

    def mask(self, size: int) -> np.ndarray:
        """Pixels whose centre is inside, (size, size) bool."""
        return self.coverage(size) > 0


def _inside(outline: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points of a grid are inside a polygon (N, 2), by the number of edges to their right: (y, x) bool."""
    inside = np.zeros((len(y), len(x)), bool)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, 0), strict=True):
        if y0 != y1:
            crosses = (y0 <= y) != (y1 <= y)
            at = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
            inside ^= crosses[:, None] & (x < at[:, None])
    return inside


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width and height of the pixels of a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def _draw(rng: np.random.Generator, kind: str, x: float, y: float) -> Target:
    length = rng.uniform(*LENGTH[kind])
    width = max(length / rng.uniform(*SLENDER), NARROWEST) if kind == "ship" else length * rng.uniform(*SPAN)
    return Target(kind, (x, y), length, width, rng.uniform(-np.pi, np.pi))


def place_objects(rng: np.random.Generator, layout: Layout) -> tuple[Target, ...]:
    """Ships on water and aircraft on an airfield's asphalt, whole, apart, and with free pixels round each."""
    size = len(layout.labels)
    found: list[Target] = []
    for kind, ground in zip(KINDS, (layout.labels == WATER, layout.plan.apron & (layout.labels == ROAD)), strict=True):
        free = ground.copy()
        wanted = int(rng.integers(WANTED[kind][0], WANTED[kind][1] + 1))
        for _ in range(12 * wanted):
            rows, columns = np.nonzero(free)
            if wanted == 0 or not len(rows):
                break
            at = rng.integers(len(rows))
            x, y = columns[at] + rng.random(), rows[at] + rng.random()
            target = _draw(rng, kind, float(x), float(y))
            reach = binary_dilation(target.mask(size), iterations=CLEAR)
            corners = target.corners()
            if corners.min() < CLEAR or corners.max() > size - CLEAR or not free[reach].all():
                continue
            free &= ~reach
            found.append(target)
            wanted -= 1
    return tuple(found)
