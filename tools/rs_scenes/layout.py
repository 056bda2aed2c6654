"""Land cover at one date: what stands on a place, and how high."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rs_scenes.cover import BARE, BUILDING, FOREST, GRASS, ROAD, WATER
from rs_scenes.plan import STREET, Plan


@dataclass(frozen=True)
class State:
    """What can change between two dates and is land cover.

    Attributes:
        water: Added to the share that water covers.
        felled: Numbers of cells whose forest is gone.
        built: Share of the plots of towns that have a house, 0 to 1.
    """

    water: float = 0.0
    felled: tuple[int, ...] = ()
    built: float = 0.75


@dataclass(frozen=True)
class Layout:
    """A place at one date.

    Attributes:
        plan: The place.
        labels: Land cover, (size, size) uint8, values as in ``cover.COVERS``.
        ground: Height of the ground, or of the water, in pixels.
        town: Where a town is, with its streets and yards.
    """

    plan: Plan
    labels: np.ndarray
    ground: np.ndarray
    town: np.ndarray


def lay_out(plan: Plan, state: State | None = None) -> Layout:
    """The land cover of a place; over each other, from below: cells, towns, roads, an airfield's asphalt, water."""
    state = state or State()
    cell_cover = plan.cell_cover.copy()
    felled = np.array(state.felled, int)
    cell_cover[felled[cell_cover[felled] == FOREST]] = BARE
    labels = cell_cover[plan.cell].astype(np.uint8)
    town = labels == BUILDING
    right, down = plan.in_plot
    left, top, end, bottom = np.moveaxis(plan.house[plan.plot], -1, 0)
    house = (right >= left) & (right < end) & (down >= top) & (down < bottom) & (plan.rank[plan.plot] < state.built)
    street = (right < STREET) | (down < STREET)
    labels[town] = np.select([street, house], [ROAD, BUILDING], GRASS)[town]
    labels[plan.road] = ROAD
    level = np.quantile(plan.height, np.clip(plan.water + state.water, 0, 1))
    labels[plan.height < level] = WATER
    labels[plan.apron] = ROAD
    return Layout(plan, labels, np.maximum(plan.height, level), town & (labels != WATER) & ~plan.apron)
