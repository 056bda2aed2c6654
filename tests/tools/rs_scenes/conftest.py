"""Places of one cover, and a small data set."""

from dataclasses import replace

import numpy as np
import pytest
from rs_scenes.data_set import make_rs_scenes
from rs_scenes.layout import Layout
from rs_scenes.plan import draw_plan

SIZE = 256


@pytest.fixture(scope="session")
def level_place():
    """Makes a layout, level and of one cover, with its plan's fields all in one state."""
    plan = draw_plan(np.random.default_rng(0), SIZE, "farmland")
    level = np.zeros((SIZE, SIZE))

    def make(cover, roof=0):
        labels = np.full((SIZE, SIZE), cover, np.uint8)
        return Layout(replace(plan, height=level, roof=np.full_like(plan.roof, roof)), labels, level, level > 0)

    return make


@pytest.fixture(scope="session")
def rs_scenes(tmp_path_factory):
    """Ten, five and five scenes of 128 px."""
    out = tmp_path_factory.mktemp("data") / "rs_scenes"
    assert make_rs_scenes(out, size=128, train=10, val=5, test=5, seed=3)
    return out
