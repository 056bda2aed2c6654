"""Several workers of one study: no proposal is made twice, and none waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import search_worker
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from backbones.search import MA2MLSampler
from backbones.search import reservations as reserving
from backbones.search.reservations import PROPOSAL, SETTLED


def test_four_processes_propose_nothing_twice(tmp_path: Path, root: Path) -> None:
    """23 of 96 combinations each, so that many proposals are for the same few that are left."""
    journal = tmp_path / "journal.log"
    paths = [str(root), *sys.path]
    workers = [
        subprocess.Popen(
            [sys.executable, search_worker.__file__, str(journal), "23"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        )
        for _ in range(4)
    ]
    assert [worker.wait(timeout=300) for worker in workers] == [0] * 4
    study = optuna.load_study(study_name="processes", storage=JournalStorage(JournalFileBackend(str(journal))))
    assert len(study.trials) == 92 and all(t.state == TrialState.COMPLETE for t in study.trials)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 92


def test_a_dead_workers_open_proposal_is_waited_for_and_then_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    space = search_worker.SPACE
    monkeypatch.setattr(reserving, "PATIENCE", 0.05)
    study = optuna.create_study(sampler=MA2MLSampler(space, 0))
    mine, dead = study.ask(), study.ask()
    stored = space.of_levels((0, 0, 0, 0), [0.5] * 4)
    other = space.of_levels((1, 0, 0, 0), [0.5] * 4)
    study._storage.set_trial_system_attr(dead._trial_id, PROPOSAL, stored)
    proposals = iter([stored, other])
    trial = study._storage.get_trial(mine._trial_id)
    found = reserving.reserve(study, trial, lambda others: next(proposals), space.levels, frozenset(), frozenset())
    assert found == other
    attributes = study._storage.get_trial(mine._trial_id).system_attrs
    assert attributes[PROPOSAL] == other and attributes[SETTLED]


def test_an_earlier_trial_keeps_what_the_later_one_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    space = search_worker.SPACE
    study = optuna.create_study(sampler=MA2MLSampler(space, 0))
    mine, later = study.ask(), study.ask()
    stored, other = (space.of_levels((i, 0, 0, 0), [0.5] * 4) for i in (0, 1))
    study._storage.set_trial_system_attr(later._trial_id, PROPOSAL, stored)
    # While the earlier one waits, the later one sees it and changes.
    monkeypatch.setattr(
        reserving.time, "sleep", lambda _: study._storage.set_trial_system_attr(later._trial_id, PROPOSAL, other)
    )
    trial = study._storage.get_trial(mine._trial_id)
    found = reserving.reserve(study, trial, lambda others: stored, space.levels, frozenset(), frozenset())
    assert found == stored


def test_a_later_trial_gives_way_at_once() -> None:
    space = search_worker.SPACE
    study = optuna.create_study(sampler=MA2MLSampler(space, 0))
    earlier, mine = study.ask(), study.ask()
    stored, other = (space.of_levels((i, 0, 0, 0), [0.5] * 4) for i in (0, 1))
    study._storage.set_trial_system_attr(earlier._trial_id, PROPOSAL, stored)
    proposals = iter([stored, other])
    trial = study._storage.get_trial(mine._trial_id)
    assert reserving.reserve(study, trial, lambda others: next(proposals), space.levels, (), ()) == other
