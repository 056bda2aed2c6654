"""Pairs of one place at two dates: new buildings, felled forest and risen water, beside what is no change of cover.

No change are: the state of fields, the sun, the gain, where ships and aircraft are, an offset of less than a pixel,
texture, noise and speckle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rs_scenes.cover import FOREST
from rs_scenes.layout import State, lay_out
from rs_scenes.objects import place_objects
from rs_scenes.optical import Light, expose, reflectance
from rs_scenes.plan import Plan, draw_plan, field_state
from rs_scenes.radar import radar_picture

#: Share of pairs without any change.
UNCHANGED = 0.25
#: What can happen: the rise of the share of water, the share of wooded cells felled, that of plots built on.
RISE, FELLED, BUILT_BEFORE, BUILT_AFTER = (0.02, 0.1), (0.1, 0.5), (0.3, 0.6), (0.1, 0.3)
AZIMUTH, ELEVATION, GAIN, OFFSET = (285, 345), (35, 60), (0.85, 1.15), 0.5


@dataclass(frozen=True)
class View:
    """One date: land cover (size, size) uint8, optical (size, size, 3) uint8 and radar (size, size, 2) in dB."""

    labels: np.ndarray
    optical: np.ndarray
    sar: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two dates of a place; ``change`` is 1 where the land cover differs, (size, size) uint8."""

    before: View
    after: View
    change: np.ndarray


def later(rng: np.random.Generator, plan: Plan, before: State) -> State:
    """The land cover at a later date: any of three changes; water rises where nothing else could change."""
    rises, fells, builds = rng.random(3) < 0.6
    wooded = np.flatnonzero(plan.cell_cover == FOREST)
    felled = wooded[rng.random(len(wooded)) < rng.uniform(*FELLED)] if fells else wooded[:0]
    rise = rng.uniform(*RISE)
    state = State(
        water=before.water + (rise if rises else 0),
        felled=tuple(int(cell) for cell in felled),
        built=before.built + (rng.uniform(*BUILT_AFTER) if builds else 0),
    )
    if np.array_equal(lay_out(plan, state).labels, lay_out(plan, before).labels):
        state = replace(state, water=before.water + rise)
    return state


def _view(rng: np.random.Generator, plan: Plan, state: State, light: Light, look: int) -> View:
    layout = lay_out(plan, state)
    dryness, moisture = field_state(rng, len(plan.cell_cover))
    targets = place_objects(rng, layout)
    optical = expose(rng, reflectance(rng, layout, dryness, targets, light), light)
    return View(layout.labels, optical, radar_picture(rng, layout, moisture, targets, look))


def _light(rng: np.random.Generator) -> Light:
    return Light(
        azimuth=rng.uniform(*AZIMUTH),
        elevation=rng.uniform(*ELEVATION),
        gain=rng.uniform(*GAIN),
        offset=(rng.uniform(-OFFSET, OFFSET), rng.uniform(-OFFSET, OFFSET)),
    )


def draw_pair(rng: np.random.Generator, size: int, scene_class: str | None = None) -> Pair:
    """A pair of ``size`` px, of a place of the given class or of any; a quarter of all are unchanged."""
    plan = draw_plan(rng, size, scene_class)
    before = State(built=rng.uniform(*BUILT_BEFORE))
    after = before if rng.random() < UNCHANGED else later(rng, plan, before)
    look = int(rng.choice([-1, 1]))
    views = [_view(rng, plan, before, Light(), look), _view(rng, plan, after, _light(rng), look)]
    change = (views[0].labels != views[1].labels).astype(np.uint8)
    return Pair(*views, change)
