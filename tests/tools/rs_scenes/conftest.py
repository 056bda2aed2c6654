"""Places of one cover."""

from dataclasses import replace

import numpy as np
import pytest
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
