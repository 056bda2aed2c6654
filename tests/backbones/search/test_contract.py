"""Optuna's own tests of samplers, for both samplers and all forms of MA2ML."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

from backbones.search import Agent, Choice, Float, MA2MLLiteSampler, MA2MLSampler, Ordinal, Space

SAMPLERS = {
    "ma2ml": MA2MLSampler,
    "ma2ml-mlp": partial(MA2MLSampler, critic="mlp", startup=1),
    "ma2ml-on-policy": partial(MA2MLSampler, off_policy=False, credit="shared", order="simultaneous", startup=0),
    "lite": MA2MLLiteSampler,
}


class _OfThisPackage:
    @pytest.fixture(params=list(SAMPLERS))
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        space = Space(a=Agent(x=Ordinal([1, 2, 3])), b=Agent(y=Float(0, 1), z=Choice(["u", "v"])))
        return partial(SAMPLERS[request.param], space)


class TestBasic(_OfThisPackage, BasicSamplerTestCase):
    pass


class TestRelative(_OfThisPackage, RelativeSamplerTestCase):
    pass


class TestSingleOnly(_OfThisPackage, SingleOnlySamplerTestCase):
    pass
