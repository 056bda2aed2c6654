"""Shared by the tests of the search: a small space, and a quiet Optuna."""

from __future__ import annotations

from collections.abc import Iterator

import optuna
import pytest

from backbones.search import Agent, Choice, Limit, LogFloat, Ordinal, Space


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(level)


def _area(values: dict[str, int]) -> int:
    return values["width"] * values["depth"]


@pytest.fixture
def discrete() -> Space:
    """Two agents, 2 x (7 of 12) and 4 x 3 combinations: 7 widths and depths keep to the limit."""
    return Space(
        nas=Agent(
            operator=Choice(["heat", "wave"]),
            width=Ordinal([8, 16, 32, 64]),
            depth=Ordinal([1, 2, 3]),
            limits=Limit(_area, 50, "cells"),
        ),
        hpo=Agent(rate=Ordinal([1e-4, 1e-3, 1e-2, 1e-1]), decay=Ordinal([0.0, 0.1, 0.2])),
    )


@pytest.fixture
def mixed() -> Space:
    """Every kind of parameter, and a condition."""
    return Space(
        nas=Agent(operator=Choice(["heat", "wave"]), speed=Ordinal([0.5, 1.0, 2.0], when={"operator": "wave"})),
        hpo=Agent(rate=LogFloat(1e-4, 1e-1, bins=6)),
    )
