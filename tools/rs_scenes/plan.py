"""What a place is like before anything is drawn: the numbers from which its land cover follows at any date."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from rs_scenes.cover import BARE, BUILDING, CROP, FOREST, GRASS, ROOFS
from rs_scenes.fields import noise_field

#: Cover of cells; BUILDING stands for a town, which has streets and yards, too.
CELL_COVERS = (FOREST, GRASS, CROP, BARE, BUILDING)
#: Classes of scenes, with what each adds to the scores of CELL_COVERS, and the share that water takes.
SCENE_CLASSES = {
    "airfield": ((0.0, 1.0, 0.6, 0.2, 0.0), (0.0, 0.08)),
    "coast": ((0.3, 0.3, 0.0, 0.3, 0.2), (0.2, 0.4)),
    "farmland": ((-0.2, 0.2, 1.6, 0.3, -0.8), (0.0, 0.12)),
    "town": ((-0.3, 0.2, 0.0, 0.0, 1.7), (0.05, 0.15)),
    "woodland": ((1.7, 0.2, -0.2, 0.0, -0.8), (0.08, 0.25)),
}
#: Sides of a town's plots, and the width of its streets, in pixels.
PLOT, STREET = (9, 13), 2
#: Distance of cells' centres in pixels, that of the cells whose borders are roads, and how far both are warped.
CELL, ROAD_CELL, WARP = (22, 36), 100, 4


@dataclass(frozen=True)
class Plan:
    """A place.

    Attributes:
        scene_class: One of :data:`SCENE_CLASSES`.
        height: Terrain without water, (size, size), in pixels.
        water: Share of the place that water covers.
        cell: Number of each pixel's cell.
        cell_cover: Of each cell, one of :data:`CELL_COVERS`.
        dryness: Of each cell as a field, 0 green to 1 ripe.
        moisture: Of each cell as a field, -1 to 1; times 2 dB in the radar.
        rows: Direction of each cell's furrows, in radians.
        road: Where roads are, where nothing is over them.
        plot: Number of each pixel's plot, were there a town, (size, size).
        in_plot: Where in its plot a pixel is, (2, size, size), in pixels.
        house: Left, top, right and bottom of each plot's house in its plot, (plots, 4).
        rank: Of each plot, 0 to 1: the house stands from that state of development on.
        roof: Of each plot, its number in ``cover.ROOFS``.
        apron: Where an airfield's asphalt is.
    """

    scene_class: str
    height: np.ndarray
    water: float
    cell: np.ndarray
    cell_cover: np.ndarray
    dryness: np.ndarray
    moisture: np.ndarray
    rows: np.ndarray
    road: np.ndarray
    plot: np.ndarray
    in_plot: np.ndarray
    house: np.ndarray
    rank: np.ndarray
    roof: np.ndarray
    apron: np.ndarray


def _centres(rng: np.random.Generator, size: int, step: float) -> np.ndarray:
    """One point per square of ``step`` px, over the edges, too."""
    start = np.arange(-step, size + step, step)
    grid = np.stack(np.meshgrid(start, start, indexing="ij"), -1).reshape(-1, 2)
    return grid + rng.uniform(0, step, grid.shape)


def _dryness(rng: np.random.Generator, cells: int) -> np.ndarray:
    return np.where(rng.random(cells) < 0.35, 1.0, rng.uniform(0, 0.5, cells))


def field_state(rng: np.random.Generator, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Dryness and moisture of cells at one date; ripe fields are the brighter ones in the radar."""
    dryness, moisture = _dryness(rng, cells), rng.uniform(-1, 1, cells)
    return dryness, np.where(dryness == 1, np.abs(moisture), moisture)


def _apron(rng: np.random.Generator, size: int, height: np.ndarray) -> np.ndarray:
    """A runway through the highest of twenty places, and an apron of at least 84 x 50 px beside it."""
    y, x = np.mgrid[:size, :size] + 0.5
    places = rng.uniform(0.35 * size, 0.65 * size, (20, 2))
    place = max(places, key=lambda p: height[int(p[0]), int(p[1])])
    angle = rng.uniform(0, np.pi)
    along = (x - place[1]) * np.cos(angle) + (y - place[0]) * np.sin(angle)
    across = (y - place[0]) * np.cos(angle) - (x - place[1]) * np.sin(angle)
    half, deep = size * rng.uniform(0.2, 0.26), size * rng.uniform(0.22, 0.3)
    return ((abs(along) < half) & (across > -8) & (across < deep - 8)) | (abs(across + 16) < 4)


def draw_plan(rng: np.random.Generator, size: int, scene_class: str | None = None) -> Plan:
    """A place of ``size`` px, of the given class of scenes or of any."""
    if scene_class is None:
        scene_class = tuple(SCENE_CLASSES)[rng.integers(len(SCENE_CLASSES))]
    bias, water = SCENE_CLASSES[scene_class]
    height = noise_field(rng, size, 3.6)
    height *= rng.uniform(0.03, 0.09) / np.hypot(*np.gradient(height)).std()
    warp = np.stack([noise_field(rng, size, 3), noise_field(rng, size, 3)], -1)
    where = np.stack(np.mgrid[:size, :size], -1) + 0.5 + WARP * warp
    centres = _centres(rng, size, rng.uniform(*CELL))
    cell = cKDTree(centres).query(where)[1]
    # Five directions in the plane of two maps, one for each cover; a cell takes the cover whose direction it is in.
    maps = np.stack([noise_field(rng, size, 3), noise_field(rng, size, 3)])
    at = np.clip(centres, 0, size - 1).astype(int)
    turn = 2 * np.pi * np.arange(len(CELL_COVERS)) / len(CELL_COVERS)
    scores = np.stack([np.cos(turn), np.sin(turn)], -1) @ maps[:, at[:, 0], at[:, 1]] + np.array(bias)[:, None]
    dryness, moisture = field_state(rng, len(centres))
    distance = cKDTree(_centres(rng, size, ROAD_CELL)).query(where, k=2)[0]
    angle = rng.uniform(0, np.pi / 2)
    y, x = np.mgrid[:size, :size] + 0.5
    grid = np.stack([x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)])
    number = [np.floor(g / p).astype(int) for g, p in zip(grid, PLOT, strict=True)]
    in_plot = np.stack([g - n * p for g, n, p in zip(grid, number, PLOT, strict=True)])
    number = [n - n.min() for n in number]
    plots = (number[0].max() + 1) * (number[1].max() + 1)
    near = STREET + rng.uniform(0.5, 1.5, (plots, 2))
    far = np.array(PLOT) - rng.uniform(0.5, 2.5, (plots, 2))
    return Plan(
        scene_class=scene_class,
        height=height,
        water=rng.uniform(*water),
        cell=cell,
        cell_cover=np.array(CELL_COVERS)[scores.argmax(0)],
        dryness=dryness,
        moisture=moisture,
        rows=rng.uniform(0, np.pi, len(centres)),
        road=distance[..., 1] - distance[..., 0] < rng.uniform(2.5, 4),
        plot=number[0] * (number[1].max() + 1) + number[1],
        in_plot=in_plot,
        house=np.concatenate([near, far], 1),
        rank=rng.random(plots),
        roof=rng.integers(len(ROOFS), size=plots),
        apron=_apron(rng, size, height) if scene_class == "airfield" else np.zeros((size, size), bool),
    )
