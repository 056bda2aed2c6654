"""What a sampler learns from: the trials of a study as levels and rewards. Nothing else is stored anywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import optuna
import torch
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from backbones.search.parameters import Value
from backbones.search.reservations import proposed
from backbones.search.space import Space

__all__ = ["REPLACED", "Replay", "normal_scores", "read_replay", "reward_ranks"]


#: The system attribute of a trial that says nothing of what was proposed for it: another has taken its place, as when
#: its worker was killed, or it was refused before it began.
REPLACED = "backbones.search:replaced"
#: Levels, where these say all; otherwise what is stored.
Identity = tuple[int, ...] | tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Replay:
    """The trials that a proposal has seen.

    Attributes:
        numbers: Of the trials that have ended, rising.
        levels: Theirs, ``(trials, parameters)``.
        ranks: Theirs, higher is better; only their order matters.
        running: Levels of the trials that are being evaluated.
        seen_running: Their numbers.
        taken: Of all trials, waiting ones included: what is equal would be a duplicate.
    """

    numbers: tuple[int, ...]
    levels: np.ndarray
    ranks: np.ndarray
    running: np.ndarray
    seen_running: tuple[int, ...]
    taken: frozenset[Identity]

    @property
    def scores(self) -> np.ndarray:
        """The rewards, normal scores of the ranks, so that scale and tails of what is optimised do not matter."""
        return normal_scores(self.ranks)


def identity(space: Space, stored: Mapping[str, Value]) -> Identity | None:
    """What makes two trials duplicates; None for one that is incomplete, of other values, or infeasible."""
    levels = space.levels(stored)
    if levels is None or not space.continuous:
        return levels
    return tuple(sorted((name, stored[name]) for name in space.parameters if name in stored))


class Ended(NamedTuple):
    """What a trial that has ended teaches."""

    number: int
    levels: tuple[int, ...] | None
    same: Identity | None
    complete: bool
    pruned: bool
    value: float
    reports: Mapping[int, float]
    replaced: bool = False


class Known:
    """The trials that have ended: they do not change, so each is read once."""

    def __init__(self) -> None:
        #: Of each storage. A database can give the number of a deleted trial to a new one, hence the time.
        self._of: WeakKeyDictionary[BaseStorage, dict[tuple[int, datetime | None], Ended]] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[Known], tuple[()]]:
        return Known, ()  # a sampler that is copied or pickled reads again

    def ended(self, space: Space, study: optuna.Study, trial: FrozenTrial) -> Ended | None:
        """What it taught; None for one that has not ended."""
        known = self._of.setdefault(study._storage, {})
        key = (trial._trial_id, trial.datetime_complete)
        if (found := known.get(key)) is None and trial.state.is_finished():
            stored, state = proposed(trial), trial.state
            value = trial.value if state == TrialState.COMPLETE else math.nan
            kind = (state == TrialState.COMPLETE, state == TrialState.PRUNED, value, trial.intermediate_values)
            levels, replaced = space.levels(stored), REPLACED in trial.system_attrs
            found = Ended(trial.number, levels, identity(space, stored), *kind, replaced)
            known[key] = found
        return found


def read_replay(space: Space, study: optuna.Study, number: int, known: Known) -> Replay:
    """The trials of a study, but for the one that is to be proposed, ``number``.

    Trials that have ended without all parameters of the space, or with others, teach nothing and are left out, as are
    those with the attribute ``REPLACED``, which were begun again as another trial.
    """
    ended, running, seen_running = [], [], []
    taken = set()
    for trial in study._storage.get_all_trials(study._study_id, deepcopy=False):
        if (found := known.ended(space, study, trial)) is not None:
            if found.levels is not None and not found.replaced:
                ended.append(found)
                taken.add(found.same)
        elif trial.number != number and (levels := space.levels(stored := proposed(trial))) is not None:
            taken.add(identity(space, stored))
            if trial.state == TrialState.RUNNING:
                running.append(levels)
                seen_running.append(trial.number)
    shape = (-1, len(space.parameters))
    return Replay(
        tuple(trial.number for trial in ended),
        np.array([trial.levels for trial in ended], int).reshape(shape),
        reward_ranks(ended, maximise=study.direction == StudyDirection.MAXIMIZE),
        np.array(running, int).reshape(shape),
        tuple(seen_running),
        frozenset(taken),
    )


def reward_ranks(trials: Sequence[Ended], *, maximise: bool) -> np.ndarray:
    """One number for each ended trial, higher is better, in [-1, 1].

    A complete trial has its mid-rank among the complete ones, as a share. A pruned one has its mid-rank among all that
    reported at the step where it stopped, so that being stopped early is compared with equal training; one that
    reported nothing is below them all. A failed one is worst.
    """
    sign = 1.0 if maximise else -1.0
    ranks = np.full(len(trials), -1.0)
    complete = np.array([trial.complete for trial in trials], bool)
    values = sign * np.array([trial.value for trial in trials])[complete]
    ranks[complete] = _mid_ranks(np.sort(values), values)
    at_step: dict[int, list[float]] = {}
    for trial in trials if not complete.all() else ():
        for step, value in trial.reports.items():
            at_step.setdefault(step, []).append(_signed(sign, value))
    for i, trial in enumerate(trials):
        if trial.pruned:
            ranks[i] = 0.0
            if trial.reports:
                step = max(trial.reports)
                value = np.array([_signed(sign, trial.reports[step])])
                ranks[i] = _mid_ranks(np.sort(at_step[step]), value)[0]
    return ranks


def _signed(sign: float, value: float) -> float:
    return -math.inf if math.isnan(value) else sign * value


def _mid_ranks(among: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mid-ranks of values among sorted ones that hold them, as shares in (0, 1)."""
    return (np.searchsorted(among, values, "left") + np.searchsorted(among, values, "right")) / (2 * max(len(among), 1))


def normal_scores(ranks: np.ndarray) -> np.ndarray:
    r"""Normal scores :math:`\Phi^{-1}((r - 3/8) / (n + 1/4))` of mid-ranks :math:`r` among :math:`n` numbers.

    Source:
        G. Blom, *Statistical Estimates and Transformed Beta-Variables*, Wiley 1958.

    Example:
        >>> normal_scores(np.array([3.0, 1e9, -5.0])).round(2).tolist()
        [0.0, 0.87, -0.87]
    """
    _, inverse, counts = np.unique(ranks, return_inverse=True, return_counts=True)
    mid = np.cumsum(counts) - (counts - 1) / 2
    shares = torch.from_numpy((mid - 0.375) / (len(ranks) + 0.25))
    return torch.special.ndtri(shares).numpy()[inverse]
