"""MA2ML-Lite: every agent follows the gradient of the shared reward by itself."""

from __future__ import annotations

import math

import numpy as np

from backbones.search.policies import behaviours
from backbones.search.replay import Replay
from backbones.search.sampler import AgentSampler, Allowed
from backbones.search.space import Space

__all__ = ["MA2MLLiteSampler"]


class MA2MLLiteSampler(AgentSampler):
    r"""REINFORCE for every agent on the shared reward, after MA2ML's "Lite", reconstructed: no critic, no credit.

    A policy is :math:`\pi(a) \propto \exp \sum_p \theta_p(a_p)` over the agent's combinations. Every ended trial is
    used once, in the order of their numbers: :math:`\theta \leftarrow \theta + \eta R\, \nabla \log \pi(a)`, where R is
    the share of the trials before it that it beats, less 1/2, so that the baseline is the middle.

    Args:
        space: What is searched.
        seed: As for :class:`~backbones.search.MA2MLSampler`.
        learning_rate: :math:`\eta`.
        floor: Share of the uniform policy in what agents act by.

    Raises:
        TypeError: ``space`` is no space.
        ValueError: An argument is out of its range, or a study has several objectives.

    Source:
        R. J. Williams, *Simple statistical gradient-following algorithms for connectionist reinforcement learning*,
        Machine Learning 8 (1992) 229-256.
    """

    def __init__(
        self, space: Space, seed: int | None = None, *, learning_rate: float = 0.5, floor: float = 0.02
    ) -> None:
        super().__init__(space, seed)
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate must be > 0 and finite, got {learning_rate!r}")
        if not 0 <= floor < 1:
            raise ValueError(f"floor must be in [0, 1), got {floor!r}")
        self.learning_rate, self.floor = learning_rate, floor
        #: Of every part, the places of its actions' levels in the vector of logits.
        self._places = [
            part.table + np.concatenate([[0], np.cumsum(part.table.max(0) + 1)[:-1]]) for _, part, _ in space.parts
        ]
        # The logits after some trials: a study that begins with these goes on from there, to the bit.
        self._kept: tuple[list[tuple[float, tuple[int, ...]]], list[np.ndarray]]
        self._kept = [], [np.zeros(int(places.max()) + 1) for places in self._places]

    def propose(self, replay: Replay, rng: np.random.Generator, allowed: Allowed) -> tuple[int, ...]:
        policies = self._policies(replay)
        for levels in self.draw(policies, rng, allowed, 100).tolist():
            if self.is_new(levels, replay):
                return tuple(levels)
        return self.any_new(replay, rng, allowed)

    def _policies(self, replay: Replay) -> list[np.ndarray]:
        rewards = [_beaten(replay.ranks[:i], rank) - 0.5 if i else 0.0 for i, rank in enumerate(replay.ranks)]
        steps = list(zip(rewards, map(tuple, replay.levels.tolist()), strict=True))
        done, kept = self._kept
        if steps[: len(done)] != done:
            done, kept = [], [np.zeros(int(places.max()) + 1) for places in self._places]
        logits = [each.copy() for each in kept]
        for reward, levels in steps[len(done) :]:
            for (_, part, columns), places, theta in zip(self.space.parts, self._places, logits, strict=True):
                policy = _softmax(theta[places].sum(1))
                expected = np.bincount(places.ravel(), np.repeat(policy, places.shape[1]), len(theta))
                row = places[part.row_of[tuple(levels[i] for i in columns)]]
                theta -= self.learning_rate * reward * expected
                theta[row] += self.learning_rate * reward
        self._kept = steps, logits
        policies = [_softmax(theta[places].sum(1)) for theta, places in zip(logits, self._places, strict=True)]
        return behaviours(policies, self.floor)


def _beaten(before: np.ndarray, rank: float) -> float:
    return float((before < rank).mean() + (before == rank).mean() / 2)


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()
