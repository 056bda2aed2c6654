"""The critics: against restatements of their equations, and on rewards whose structure is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from backbones.search import Agent, Choice, Ordinal, Space
from backbones.search.critic import NOISE, Factors, PairwiseCritic, level_covariance
from backbones.search.mlp_critic import MLPCritic


@pytest.fixture
def space() -> Space:
    return Space(
        a=Agent(p=Choice(["x", "y"]), q=Ordinal([1, 2, 3, 4], when={"p": "y"})),
        b=Agent(r=Ordinal([1, 2, 3])),
        c=Agent(s=Choice([0, 1]), t=Ordinal([5, 6, 7])),
    )


def _every(space: Space) -> np.ndarray:
    found = []
    for rows in itertools.product(*(range(len(part.table)) for _, part, _ in space.parts)):
        levels = np.empty(len(space.parameters), int)
        for (_, part, columns), row in zip(space.parts, rows, strict=True):
            levels[columns] = part.table[row]
        found.append(levels)
    return np.array(found)


def _trials(space: Space, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.array([space.draw(rng) for _ in range(count)], int).reshape(count, 5), rng.standard_normal(count)


def _prior(space: Space, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The covariance of rewards as the module's text has it, by loops."""
    tables = [level_covariance(parameter) for parameter in space.parameters.values()]
    d = len(tables)
    found = np.zeros((len(a), len(b)))
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            k = [table[x[p], y[p]] for p, table in enumerate(tables)]
            found[i, j] = sum(k) / d + 2 / (d * (d - 1)) * sum(u * v for u, v in itertools.combinations(k, 2))
    return found


def test_mean_and_deviation_are_those_of_the_gaussian_posterior(space: Space) -> None:
    levels, scores = _trials(space, 30)
    every = _every(space)
    inverse = np.linalg.inv(_prior(space, levels, levels) + NOISE * np.eye(30))
    across = _prior(space, every, levels)
    mean, deviation = PairwiseCritic(space, levels, scores).mean_and_deviation(every)
    assert mean == pytest.approx(across @ inverse @ scores)
    variance = _prior(space, every, every).diagonal() - np.einsum("ij,jk,ik->i", across, inverse, across)
    assert deviation**2 == pytest.approx(variance)


def test_expectations_are_sums_over_all_joint_actions(space: Space) -> None:
    rng = np.random.default_rng(1)
    critic = PairwiseCritic(space, *_trials(space, 25))
    mean = critic.mean_and_deviation(_every(space))[0].reshape([len(part.table) for _, part, _ in space.parts])
    policies = [rng.dirichlet(np.ones(n)) for n in mean.shape]
    for part in range(3):
        table = np.moveaxis(mean, part, 0)
        for policy in [p for k, p in enumerate(policies) if k != part]:
            table = np.tensordot(table, policy, (1, 0))
        assert critic.values(part, policies) == pytest.approx(table)


def test_running_trials_lower_the_uncertainty_and_leave_the_mean(space: Space) -> None:
    levels, scores = _trials(space, 70)
    running, _ = _trials(space, 3, seed=9)
    every = _every(space)
    mean, deviation = PairwiseCritic(space, levels, scores).mean_and_deviation(every)
    mean_beside, deviation_beside = PairwiseCritic(space, levels, scores, running).mean_and_deviation(every)
    assert mean_beside == pytest.approx(mean)
    assert (deviation_beside <= deviation + 1e-12).all() and deviation_beside.sum() < deviation.sum() - 0.01


def test_what_is_kept_between_proposals_changes_no_bit(space: Space) -> None:
    levels, scores = _trials(space, 300)
    other, _ = _trials(space, 300, seed=1)
    every, kept = _every(space), Factors()
    for of in [
        levels[:3],
        levels[:130],
        levels[:131],
        np.concatenate([levels[:100], other[:100]]),
        levels,
        levels[:64],
    ]:
        again = PairwiseCritic(space, of, scores[: len(of)], factors=kept)
        anew = PairwiseCritic(space, of, scores[: len(of)])
        for a, b in zip(again.mean_and_deviation(every), anew.mean_and_deviation(every), strict=True):
            assert np.array_equal(a, b)


def test_a_critic_of_some_parameters_sees_no_others(space: Space) -> None:
    critic = PairwiseCritic(space, *_trials(space, 40), only=[3, 4])
    mean = critic.mean_and_deviation(_every(space))[0].reshape(-1, 6)
    assert mean == pytest.approx(np.broadcast_to(mean[0], mean.shape)) and np.ptp(mean[0]) > 0.1


def test_neighbouring_levels_learn_from_each_other_and_unordered_ones_do_not() -> None:
    for kind, like in ((Ordinal, True), (Choice, False)):
        space = Space(a=Agent(p=kind(list(range(7)))))
        critic = PairwiseCritic(space, np.array([[3], [3]]), np.array([1.0, 1.0]))
        mean, deviation = critic.mean_and_deviation(np.arange(7)[:, None])
        assert (mean[4] > mean[5] > mean[6] > 0) == like
        assert (deviation[4] < deviation[6]) == like


@pytest.mark.parametrize("trials", [0, 1])
def test_little_is_no_trouble(space: Space, trials: int) -> None:
    levels, scores = _trials(space, trials)
    for critic in (PairwiseCritic(space, levels, scores), MLPCritic(space, levels, scores, 0)):
        mean, deviation = critic.mean_and_deviation(_every(space))
        assert np.isfinite(mean).all() and (deviation > 0).all()


def test_the_networks_learn_an_interaction_and_repeat_by_their_seed() -> None:
    space = Space(a=Agent(p=Choice([0, 1])), b=Agent(q=Choice([0, 1])))
    levels = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 10)
    scores = np.where(levels[:, 0] == levels[:, 1], 1.0, -1.0)
    critic = MLPCritic(space, levels, scores, seed=0)
    mean, _ = critic.mean_and_deviation(levels[:4])
    assert mean == pytest.approx([1, -1, -1, 1], abs=0.2)
    assert np.array_equal(mean, MLPCritic(space, levels, scores, seed=0).mean_and_deviation(levels[:4])[0])
    assert not np.array_equal(mean, MLPCritic(space, levels, scores, seed=1).mean_and_deviation(levels[:4])[0])
    assert critic.values(0, [np.ones(2) / 2, np.array([1.0, 0.0])]) == pytest.approx([1, -1], abs=0.2)
