"""Updates of agents that share a reward, in games whose rewards are known exactly."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.search.policies import Order, behaviours, counterfactual, improve, sweep, uniform


def _expected(game: np.ndarray, policies: list[np.ndarray]) -> float:
    for policy in policies:
        game = np.tensordot(policy, game, (0, 0))
    return float(game)


def _values(game: np.ndarray) -> Callable[[int, list[np.ndarray]], np.ndarray]:
    def values(agent: int, acting: list[np.ndarray]) -> np.ndarray:
        table = np.moveaxis(game, agent, 0)
        for policy in [p for i, p in enumerate(acting) if i != agent]:
            table = np.tensordot(table, policy, (1, 0))
        return table

    return values


def _rewards(game: np.ndarray, steps: int, floor: float = 0.02, **options: float | Order) -> list[float]:
    targets = [uniform(n) for n in game.shape]
    found = [_expected(game, behaviours(targets, floor))]
    for _ in range(steps):
        targets = sweep(targets, _values(game), floor=floor, **options)
        found.append(_expected(game, behaviours(targets, floor)))
    return found


def _games(seed: int, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(rng.integers(2, 6, 3)) for _ in range(count)]


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    kl=st.floats(0.01, 2.0),
    tau=st.floats(0.01, 1.0),
    floor=st.floats(0.0, 0.5),
)
def test_sequential_updates_never_lower_the_expected_reward(
    seed: int, shape: list[int], kl: float, tau: float, floor: float
) -> None:
    game = np.random.default_rng(seed).standard_normal(shape)
    found = _rewards(game, 20, floor, kl=kl, tau=tau, order="sequential")
    assert np.diff(found).min() >= -1e-12


def test_simultaneous_updates_lower_it_in_some_games() -> None:
    def falls(order: Order, kl: float, tau: float) -> int:
        return sum(np.diff(_rewards(g, 20, kl=kl, tau=tau, order=order)).min() < -1e-9 for g in _games(0, 100))

    assert falls("sequential", 0.05, 1.0) == 0
    assert falls("simultaneous", 0.05, 1.0) > falls("simultaneous", 0.2, 1.0) > 0
    assert falls("sequential", 0.05, 0.3) == 0 < falls("simultaneous", 0.05, 0.3)


def test_two_agents_that_must_agree_are_why() -> None:
    """Each does best by the opposite of what the other does now, so both change at once, and are as wrong again."""
    game = np.array([[0.0, 1.0], [1.0, 0.0]])
    targets = [np.array([0.9, 0.1])] * 2
    options = {"kl": 0.05, "tau": 1.0, "floor": 0.0}
    before = _expected(game, targets)
    assert _expected(game, sweep(targets, _values(game), order="sequential", **options)) > 0.99
    assert _expected(game, sweep(targets, _values(game), order="simultaneous", **options)) < before


def test_expectations_by_the_improved_policies_of_the_others_could_fall() -> None:
    """Why the others are taken to act by their targets: improved policies forget what the target has not yet learnt."""
    q_before, q_after, target = np.array([10.0, 0.0]), np.array([1.0, 0.0]), uniform(2)
    improved = improve(target, q_before, 0.5)
    target = 0.7 * target + 0.3 * improved
    assert improve(target, q_after, 0.5) @ q_after < improved @ q_after


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_the_improved_policy_is_the_best_for_its_divergence(seed: int, actions: int) -> None:
    rng = np.random.default_rng(seed)
    values, target, kl = rng.standard_normal(actions), rng.dirichlet(np.ones(actions)), 0.3

    def aim(policy: np.ndarray) -> float:
        return float(policy @ values - kl * policy @ np.log(policy / target))

    best = improve(target, values, kl)
    assert best.sum() == pytest.approx(1)
    assert all(aim(best) >= aim(rng.dirichlet(np.ones(actions)) * 0.1 + 0.9 * best) for _ in range(10))


def test_a_large_value_or_an_impossible_action_is_no_trouble() -> None:
    assert improve(np.array([0.5, 0.5]), np.array([0.0, 1e6]), 0.01).tolist() == [0.0, 1.0]
    assert improve(np.array([0.0, 1.0]), np.array([9.0, 0.0]), 0.5).tolist() == [0.0, 1.0]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_credits_are_zero_on_average(seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy = rng.dirichlet(np.ones(6))
    assert policy @ counterfactual(rng.standard_normal(6), policy) == pytest.approx(0, abs=1e-12)


def test_credits_in_an_additive_game_are_the_true_marginals() -> None:
    rng = np.random.default_rng(0)
    effects = [rng.standard_normal(n) for n in (3, 4, 2)]
    game = sum(np.meshgrid(*effects, indexing="ij"))
    policies = [rng.dirichlet(np.ones(n)) for n in game.shape]
    for action in itertools.product(*map(range, game.shape)):
        for i, policy in enumerate(policies):
            beside = game[tuple(slice(None) if j == i else a for j, a in enumerate(action))]
            found = counterfactual(beside, policy)[action[i]]
            assert found == pytest.approx(effects[i][action[i]] - policy @ effects[i])


def test_agents_end_in_a_trap_that_none_leaves_alone() -> None:
    """The climbing game: the best is 11, but an agent that goes there alone loses 30."""
    game = np.array([[11.0, -30.0, 0.0], [-30.0, 7.0, 6.0], [0.0, 0.0, 5.0]])
    found = _rewards(game, 200, kl=2.0, tau=0.3, order="sequential")
    assert np.diff(found).min() >= -1e-12
    assert 4.5 < found[-1] < 7.1


def test_the_floor_keeps_every_action_alive() -> None:
    targets = sweep([uniform(5)], lambda i, acting: np.arange(5) * 100.0, kl=0.1, tau=1.0, floor=0.02)
    assert behaviours(targets, 0.02)[0].min() == pytest.approx(0.02 / 5)
