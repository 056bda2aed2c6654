"""Land cover of places, and what a later state changes in it."""

from dataclasses import replace

import numpy as np
import pytest
from rs_scenes.cover import BARE, BUILDING, FOREST, GRASS, ROAD, WATER
from rs_scenes.layout import State, lay_out
from rs_scenes.plan import SCENE_CLASSES, draw_plan, field_state


def place(scene_class, seed=0):
    return draw_plan(np.random.default_rng(seed), 192, scene_class)


@pytest.mark.parametrize("scene_class", SCENE_CLASSES)
def test_water_covers_its_share_but_for_asphalt(scene_class):
    plan = replace(place(scene_class), apron=np.zeros((192, 192), bool))
    water = (lay_out(plan).labels == WATER).mean()
    low, high = SCENE_CLASSES[scene_class][1]
    assert water == pytest.approx(plan.water, abs=1e-3) and low - 1e-3 <= water <= high + 1e-3


def test_only_an_airfield_has_an_apron():
    for name in SCENE_CLASSES:
        assert place(name).apron.any() == (name == "airfield")
    layout = lay_out(place("airfield"))
    assert (layout.labels[layout.plan.apron] == ROAD).all()


def test_scenes_are_what_their_class_says():
    """Shares of covers, the mean of four places each."""
    shares = {}
    for name in SCENE_CLASSES:
        maps = [lay_out(place(name, seed)).labels for seed in range(4)]
        shares[name] = np.bincount(np.concatenate([m.ravel() for m in maps]), minlength=7) / (4 * 192**2)
    for cover, name in ((WATER, "coast"), (FOREST, "woodland"), (2, "farmland"), (BUILDING, "town")):
        assert max(shares, key=lambda other: shares[other][cover]) == name


def test_risen_water_only_adds_water():
    plan = place("coast")
    before, after = lay_out(plan).labels, lay_out(plan, State(water=0.05)).labels
    assert (after[before != after] == WATER).all() and (before != after).mean() == pytest.approx(0.05, abs=1e-3)


def test_felled_cells_are_bare_and_other_cells_cannot_be_felled():
    plan = place("woodland")
    before = lay_out(plan).labels
    cells = tuple(range(len(plan.cell_cover)))
    after = lay_out(plan, State(felled=cells)).labels
    changed = before != after
    assert np.array_equal(changed, before == FOREST) and (after[changed] == BARE).all()
    one = plan.cell[before == FOREST][0]
    changed = before != lay_out(plan, State(felled=(int(one),))).labels
    assert np.array_equal(changed, (before == FOREST) & (plan.cell == one))


def test_new_buildings_stand_in_yards():
    plan = place("town")
    before, after = lay_out(plan, State(built=0.4)).labels, lay_out(plan, State(built=0.7)).labels
    changed = before != after
    assert changed.any() and (before[changed] == GRASS).all() and (after[changed] == BUILDING).all()
    assert not (lay_out(plan, State(built=0)).labels == BUILDING).any()


def test_ripe_fields_are_no_darker_in_the_radar_than_the_mean():
    dryness, moisture = field_state(np.random.default_rng(0), 2000)
    ripe = dryness == 1
    assert ripe.mean() == pytest.approx(0.35, abs=0.04) and dryness[~ripe].max() <= 0.5
    assert moisture[ripe].min() >= 0 and moisture[~ripe].min() < -0.9 and abs(moisture).max() <= 1
