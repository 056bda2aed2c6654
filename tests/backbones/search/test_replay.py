"""What samplers learn from trials of every state."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.storages import get_storage
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy import stats

from backbones.search import Agent, Float, Ordinal, Space
from backbones.search.replay import Known, Replay, normal_scores, read_replay


@pytest.fixture
def space() -> Space:
    return Space(a=Agent(p=Ordinal(list(range(40)))))


def _trial(space: Space, level: int, state: TrialState, value: float | None = None, **reports: float) -> FrozenTrial:
    known: dict[str, BaseDistribution] = space.distributions
    steps = {int(step[1:]): report for step, report in reports.items()}
    return create_trial(state=state, value=value, params={"a.p": level}, distributions=known, intermediate_values=steps)


def _read(space: Space, trials: list[FrozenTrial], direction: str = "maximize") -> Replay:
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return read_replay(space, study, -1, Known())


COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def test_normal_scores_are_bloms() -> None:
    values = np.random.default_rng(0).integers(0, 20, 50).astype(float)
    assert normal_scores(values) == pytest.approx(stats.norm.ppf((stats.rankdata(values) - 0.375) / 50.25))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_rewards_depend_on_ranks_alone_and_follow_the_direction(space: Space, direction: str) -> None:
    values = [1e11, -3.0, 0.0, math.inf, 1e-9]
    replay = _read(space, [_trial(space, i, COMPLETE, v) for i, v in enumerate(values)], direction)
    order = np.argsort(replay.scores)
    assert [values[i] for i in order] == sorted(values, reverse=direction == "minimize")


def test_a_failed_trial_is_worst_and_a_pruned_one_is_ranked_where_it_stopped(space: Space) -> None:
    trials = [
        _trial(space, 0, COMPLETE, 0.9, s0=0.5, s1=0.7),
        _trial(space, 1, COMPLETE, 0.8, s0=0.4, s1=0.6),
        _trial(space, 2, COMPLETE, 0.1, s0=0.1, s1=0.2),
        _trial(space, 3, COMPLETE, 0.2, s0=0.2, s1=0.1),
        _trial(space, 4, PRUNED, None, s0=0.3),  # between the second and the third of five at its step
        _trial(space, 5, PRUNED, None, s0=float("nan")),
        _trial(space, 6, PRUNED, None),
        _trial(space, 7, FAIL, None, s0=0.99),
    ]
    replay = _read(space, trials)
    assert np.argsort(replay.ranks, kind="stable").tolist() == [7, 6, 5, 2, 3, 4, 1, 0]
    assert replay.numbers == tuple(range(8))


def test_running_and_waiting_trials_are_known_and_teach_nothing(space: Space) -> None:
    study = optuna.create_study()
    study.add_trial(_trial(space, 3, COMPLETE, 1.0))
    space.suggest(study.ask({}))
    study.enqueue_trial({"a.p": 7})
    replay = read_replay(space, study, -1, Known())
    assert replay.levels.tolist() == [[3]] and len(replay.running) == 1 and replay.seen_running == (1,)
    assert {(3,), (7,)} < replay.taken and len(replay.taken) == 3


def test_trials_of_other_parameters_are_left_out(space: Space) -> None:
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    study.optimize(lambda trial: trial.suggest_int("a.p", 100, 101), n_trials=2)
    replay = read_replay(space, study, -1, Known())
    assert replay.numbers == () and replay.levels.shape == (0, 1) and not replay.taken


def test_one_reader_serves_several_studies(space: Space) -> None:
    known = Known()
    for value in (1, 2):
        study = optuna.create_study()
        study.add_trial(_trial(space, value, COMPLETE, 0.0))
        assert read_replay(space, study, -1, known).levels.tolist() == [[value]]


def test_what_was_read_of_a_storage_is_forgotten_with_it(space: Space) -> None:
    """Another can come to lie where it lay, and begin with the same numbers."""

    class Place:
        pass

    known = Known()
    for level in (1, 4):
        place = Place()
        study = SimpleNamespace(_storage=place, _study_id=0)
        assert known.ended(space, study, _trial(space, level, COMPLETE, 0.0)).levels == (level,)
        assert len(known._of) == 1
        del place, study
    assert len(known._of) == 0


def test_what_was_read_of_a_study_that_is_deleted_is_not_taken_for_anothers(tmp_path: Path, space: Space) -> None:
    """SQLite gives the numbers of what was deleted away again."""
    storage, known = get_storage(f"sqlite:///{tmp_path}/study.db"), Known()
    numbers = []
    for level in (1, 4):
        study = optuna.create_study(study_name="s", storage=storage)
        study.add_trial(_trial(space, level, COMPLETE, 0.0))
        numbers.append(study.trials[0]._trial_id)
        assert read_replay(space, study, -1, known).levels.tolist() == [[level]]
        optuna.delete_study(study_name="s", storage=storage)
    assert numbers[0] == numbers[1]


def test_values_within_one_interval_are_no_duplicates() -> None:
    space = Space(a=Agent(p=Float(0, 1, bins=1)))
    study = optuna.create_study()
    for value in (0.25, 0.75, 0.75):
        study.add_trial(create_trial(value=0.0, params={"a.p": value}, distributions=space.distributions))
    assert len(read_replay(space, study, -1, Known()).taken) == 2
