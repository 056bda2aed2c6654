"""MA2ML-Lite: every agent follows the gradient of the shared reward by itself."""

from __future__ import annotations

import numpy as np

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
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be > 0, got {learning_rate!r}")
        if not 0 <= floor < 1:
            raise ValueError(f"floor must be in [0, 1), got {floor!r}")
        self.learning_rate, self.floor = learning_rate, floor

    def propose(self, replay: Replay, rng: np.random.Generator, allowed: Allowed) -> tuple[int, ...]:
        policies = self._policies(replay)
        for levels in self.draw(policies, rng, allowed, 100).tolist():
            if self.is_new(levels, replay):
                return tuple(levels)
        return self.any_new(replay, rng, allowed)

    def _policies(self, replay: Replay) -> list[np.ndarray]:
        rewards = [_beaten(replay.ranks[:i], rank) - 0.5 if i else 0.0 for i, rank in enumerate(replay.ranks)]
        found = []
        for _, part, columns in self.space.parts:
            places = part.table + np.concatenate([[0], np.cumsum(part.table.max(0) + 1)[:-1]])
            logits = np.zeros(int(places.max()) + 1)
            for levels, reward in zip(replay.levels[:, columns].tolist(), rewards, strict=True):
                policy = _softmax(logits[places].sum(1))
                expected = np.bincount(places.ravel(), np.repeat(policy, places.shape[1]), len(logits))
                logits -= self.learning_rate * reward * expected
                logits[places[part.row_of[tuple(levels)]]] += self.learning_rate * reward
            policy = _softmax(logits[places].sum(1))
            found.append((1 - self.floor) * policy + self.floor / len(policy))
        return found


def _beaten(before: np.ndarray, rank: float) -> float:
    return float((before < rank).mean() + (before == rank).mean() / 2)


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()
