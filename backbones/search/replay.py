"""What a sampler learns from: the trials of a study as levels and rewards. Nothing else is stored anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from backbones.search.parameters import Value
from backbones.search.reservations import proposed
from backbones.search.space import Space

__all__ = ["Replay", "normal_scores", "read_replay", "reward_ranks"]


@dataclass(frozen=True)
class Replay:
    """The trials that a proposal has seen.

    Attributes:
        numbers: Of the trials that have ended, rising.
        levels: Theirs, ``(trials, parameters)``.
        ranks: Theirs, higher is better; only their order matters.
        running: Levels of the trials that are being evaluated.
        seen_running: Their numbers.
        taken: What has been stored of trials or is about to be: whatever is equal would be a duplicate.
    """

    numbers: tuple[int, ...]
    levels: np.ndarray
    ranks: np.ndarray
    running: np.ndarray
    seen_running: tuple[int, ...]
    taken: frozenset[tuple[tuple[str, Value], ...]]

    @property
    def scores(self) -> np.ndarray:
        """Rewards: the normal scores of the ranks, so that scale and tails of what is optimised do not matter."""
        return normal_scores(self.ranks)


def identity(stored: dict[str, Value]) -> tuple[tuple[str, Value], ...]:
    """What makes two trials duplicates."""
    return tuple(sorted(stored.items()))


def read_replay(space: Space, trials: Sequence[FrozenTrial], direction: StudyDirection, number: int) -> Replay:
    """The trials of a study, but for the one that is to be proposed, ``number``.

    Trials that have ended without all parameters of the space, or with others, teach nothing and are left out.
    """
    ended, levels, running, seen_running = [], [], [], []
    taken = set()
    for trial in trials:
        if trial.number == number:
            continue
        stored = proposed(trial)
        known = space.levels(stored)
        if known is None:
            continue
        taken.add(identity({name: stored[name] for name in space.parameters if name in stored}))
        if trial.state.is_finished():
            ended.append(trial)
            levels.append(known)
        elif trial.state == TrialState.RUNNING:
            running.append(known)
            seen_running.append(trial.number)
    shape = (-1, len(space.parameters))
    return Replay(
        tuple(trial.number for trial in ended),
        np.array(levels, int).reshape(shape),
        reward_ranks(ended, direction),
        np.array(running, int).reshape(shape),
        tuple(seen_running),
        frozenset(taken),
    )


def reward_ranks(trials: Sequence[FrozenTrial], direction: StudyDirection) -> np.ndarray:
    """One number for each ended trial, higher is better, in [-1, 1].

    A complete trial has its mid-rank among the complete ones, as a share. A pruned one has its mid-rank among all that
    reported at the step where it stopped, so that being stopped early is compared with equal training, and is below all
    that reported nothing. A failed one is worst.
    """
    sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
    final = np.sort([sign * trial.value for trial in trials if trial.state == TrialState.COMPLETE])
    at_step: dict[int, list[float]] = {}
    for trial in trials:
        for step, value in trial.intermediate_values.items():
            at_step.setdefault(step, []).append(_signed(sign, value))
    reported = {step: np.sort(values) for step, values in at_step.items()}
    ranks = np.empty(len(trials))
    for i, trial in enumerate(trials):
        if trial.state == TrialState.COMPLETE:
            ranks[i] = _share(final, sign * trial.value)
        elif trial.state == TrialState.PRUNED and trial.intermediate_values:
            step = max(trial.intermediate_values)
            ranks[i] = _share(reported[step], _signed(sign, trial.intermediate_values[step]))
        else:
            ranks[i] = 0.0 if trial.state == TrialState.PRUNED else -1.0
    return ranks


def _signed(sign: float, value: float) -> float:
    return -math.inf if math.isnan(value) else sign * value


def _share(among: np.ndarray, value: float) -> float:
    """Mid-rank of a value among sorted ones that hold it, in (0, 1)."""
    below, upto = np.searchsorted(among, value, "left"), np.searchsorted(among, value, "right")
    return float(below + upto) / 2 / len(among)


def normal_scores(ranks: np.ndarray) -> np.ndarray:
    r"""Normal scores :math:`\Phi^{-1}((r - 3/8) / (n + 1/4))` of mid-ranks :math:`r` among :math:`n` numbers.

    Source:
        G. Blom, *Statistical Estimates and Transformed Beta-Variables*, Wiley 1958.

    Example:
        >>> normal_scores(np.array([3.0, 1e9, -5.0])).round(2).tolist()
        [0.0, 0.87, -0.87]
    """
    unique, inverse, counts = np.unique(ranks, return_inverse=True, return_counts=True)
    mid = np.cumsum(counts) - (counts - 1) / 2
    quantile = NormalDist().inv_cdf
    scores = np.array([quantile((r - 0.375) / (len(ranks) + 0.25)) for r in mid])
    return scores[inverse] if len(unique) else np.empty(0)
