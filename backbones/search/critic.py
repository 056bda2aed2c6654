r"""The default critic: Bayesian linear regression on effects of parameters and of pairs of them, in closed form.

Rewards are a sum of effects with Gaussian priors,

.. math:: Q(a) = \sum_p f_p(a_p) + \sum_{p < q} f_{pq}(a_p, a_q), \qquad
    \mathrm{cov}(f_p(l), f_p(m)) = \tfrac{1}{D} k_p(l, m), \qquad
    \mathrm{cov}(f_{pq}(l, l'), f_{pq}(m, m')) = \tfrac{2}{D(D-1)} k_p(l, m)\, k_q(l', m'),

over D parameters, so that all effects of parameters have a variance of 1 together, and all those of pairs too. The
prior covariance over the levels of a parameter, :math:`k_p`, is the identity without an order; with one, levels at
places
:math:`t` in [0, 1] have :math:`\exp(-(t_l - t_m)^2 / 2 s^2)`, so that a level is expected to do as its neighbours do.
An inactive parameter is a level that is like no other. Expectations under independent policies are products of tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from backbones.search.parameters import Parameter
from backbones.search.space import Space

__all__ = ["Factors", "PairwiseCritic", "level_covariance"]

#: Variance of a trial's noise: rewards have a variance of about one.
NOISE = 0.1
#: Distance s over which ordered levels are alike, of the way from the first to the last.
SCALE = 0.5

#: From two arrays of joint actions to the prior covariances of their rewards.
Covariances = Callable[[np.ndarray, np.ndarray], np.ndarray]
#: Trials that are added to a Cholesky factor at once.
BLOCK = 64


def level_covariance(parameter: Parameter, scale: float = SCALE) -> np.ndarray:
    """Prior covariance of a parameter's effects over its levels, the last of them the inactive one.

    Example:
        >>> from backbones.search import Choice, Ordinal
        >>> level_covariance(Ordinal([8, 16, 32])).round(2)
        array([[1.  , 0.61, 0.14, 0.  ],
               [0.61, 1.  , 0.61, 0.  ],
               [0.14, 0.61, 1.  , 0.  ],
               [0.  , 0.  , 0.  , 1.  ]])
    """
    covariance = np.eye(parameter.levels + 1)
    if parameter.ordered and parameter.levels > 1:
        places = np.linspace(0, 1, parameter.levels)
        covariance[:-1, :-1] = np.exp(-0.5 * (np.subtract.outer(places, places) / scale) ** 2)
    return covariance


class PairwiseCritic:
    """The critic after some trials.

    Args:
        space: Of the trials.
        levels: Of the trials that have ended, ``(trials, parameters)``.
        scores: Their rewards, ``(trials,)``.
        running: Levels of trials that are being evaluated: taken to end as expected, they make others less uncertain.
        only: The parameters that it knows of, by index; all by default.
        factors: Keeps what the next critic needs again, for trials after these.
    """

    def __init__(
        self,
        space: Space,
        levels: np.ndarray,
        scores: np.ndarray,
        running: np.ndarray | None = None,
        only: Sequence[int] | None = None,
        factors: Factors | None = None,
    ) -> None:
        self.space = space
        known = np.ones(len(space.parameters), bool)
        if only is not None:
            known[:] = False
            known[list(only)] = True
        self.known = known
        tables = [level_covariance(p) * used for p, used in zip(space.parameters.values(), known, strict=True)]
        sizes = np.array([len(table) for table in tables])
        self.tables = tables
        #: Where the levels of each parameter begin among those of all.
        self.offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.covariance = torch.block_diag(*map(torch.from_numpy, tables)).numpy()
        count = int(known.sum())
        self.main = 1 / count
        self.pair = 2 / (count * (count - 1)) if count > 1 else 0.0
        self.prior = 2.0 if count > 1 else 1.0
        self.factor = ended = (factors or Factors()).of(levels, self.covariances)
        self.known_levels = levels
        if running is not None and len(running):
            self.factor = _grown(ended, levels, running, self.covariances)
            self.known_levels = np.concatenate([levels, running])
        rewards = torch.from_numpy(np.asarray(scores, float))[:, None]
        half = torch.linalg.solve_triangular(ended, rewards, upper=False)
        self.weights = torch.linalg.solve_triangular(ended.mT, half, upper=True)[:, 0].numpy()
        hot = self._one_hot(levels)
        #: Effects of levels, and of pairs of levels of different parameters.
        self.effects = self.main * self.covariance @ (hot.T @ self.weights)
        pairs = self.pair * self.covariance @ ((hot * self.weights[:, None]).T @ hot) @ self.covariance
        for start, size in zip(self.offsets, sizes, strict=True):
            pairs[start : start + size, start : start + size] = 0
        self.pairs = pairs
        self._last: dict[int, tuple[np.ndarray, np.ndarray, float]] = {}

    def values(self, part: int, policies: Sequence[np.ndarray]) -> np.ndarray:
        """Expected reward of every action of a part, the others acting by their policies."""
        others = [self._by(k, policy) for k, policy in enumerate(policies) if k != part]
        together = sum((marginals for marginals, _ in others), np.zeros(len(self.covariance)))
        at = self.pairs @ together
        constant = sum(own for _, own in others)
        return self._own[part] + at[self._columns[part]].sum(1) + constant + 0.5 * float(together @ at)

    def expectation(self, policies: Sequence[np.ndarray]) -> float:
        """Expected reward where all parts act by their policies."""
        return float(policies[0] @ self.values(0, policies))

    def mean_and_deviation(self, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected reward of joint actions, ``(actions, parameters)``, and its standard deviation."""
        across = self.covariances(self.known_levels, levels)
        mean = self.weights @ across[: len(self.weights)]
        half = torch.linalg.solve_triangular(self.factor, torch.from_numpy(across), upper=False).numpy()
        return mean, np.sqrt(np.maximum(self.prior - (half**2).sum(0), 1e-12))

    def covariances(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Prior covariances of joint actions: sums over parameters, and over pairs as (sum^2 - sum of squares) / 2."""
        total, squares = np.zeros((2, len(a), len(b)))
        for i, table in enumerate(self.tables):
            if self.known[i]:
                found = table[:, b[:, i]][a[:, i]]
                total += found
                squares += found * found
        return self.main * total + self.pair / 2 * (total * total - squares)

    # -- tables -----------------------------------------------------------------------------------------------------

    @cached_property
    def _columns(self) -> list[np.ndarray]:
        """Of every part, the places of its actions' levels among those of all parameters."""
        return [part.table + self.offsets[columns] for _, part, columns in self.space.parts]

    @cached_property
    def _own(self) -> list[np.ndarray]:
        """Of every part, the effects of its actions within it."""
        found = []
        for columns in self._columns:
            own = self.effects[columns].sum(1)
            for i in range(columns.shape[1]):
                for j in range(i):
                    own = own + self.pairs[columns[:, i], columns[:, j]]
            found.append(own)
        return found

    def _by(self, part: int, policy: np.ndarray) -> tuple[np.ndarray, float]:
        """How probable each level is by a part's policy, and what its effects and pairs within it are expected to be.

        Only one part's policy changes at a time, so the last of each is kept.
        """
        if part not in self._last or self._last[part][0] is not policy:
            m = self._marginals(part, policy)
            self._last[part] = policy, m, float(policy @ self._own[part] - 0.5 * m @ self.pairs @ m)
        return self._last[part][1:]

    def _marginals(self, part: int, policy: np.ndarray) -> np.ndarray:
        """How probable each level is, among those of all parameters."""
        columns = self._columns[part]
        weights = np.broadcast_to(policy[:, None], columns.shape)
        return np.bincount(columns.ravel(), weights.ravel(), len(self.covariance))

    def _one_hot(self, levels: np.ndarray) -> np.ndarray:
        hot = np.zeros((len(levels), len(self.covariance)))
        np.put_along_axis(hot, levels + self.offsets, 1.0, 1)
        return hot


class Factors:
    """The Cholesky factor of the covariance of trials, kept from one proposal to the next.

    It is made of blocks of trials, each from those before it, always in the same way. So what was kept is to the bit
    what would be computed anew.
    """

    def __init__(self) -> None:
        self._kept = np.empty((0, 0), int), torch.empty(0, 0, dtype=torch.float64)

    def of(self, levels: np.ndarray, covariances: Covariances) -> Tensor:
        """The factor for trials of these levels, with their noise."""
        before, factor = self._kept
        done = 0
        size = min(len(before), len(levels))
        if size:
            differ = np.flatnonzero((before[:size] != levels[:size]).any(1))
            done = (int(differ[0]) if len(differ) else size) // BLOCK * BLOCK
        factor = factor[:done, :done].mT.contiguous().mT
        for start in range(done, len(levels), BLOCK):
            factor = _grown(factor, levels[:start], levels[start : start + BLOCK], covariances)
            if start + BLOCK <= len(levels):
                self._kept = levels[: start + BLOCK], factor
        return factor


def _grown(factor: Tensor, levels: np.ndarray, more: np.ndarray, covariances: Covariances) -> Tensor:
    """The Cholesky factor with more trials."""
    n = len(levels)
    across = torch.from_numpy(covariances(np.concatenate([levels, more]), more))
    below = torch.linalg.solve_triangular(factor, across[:n], upper=False)
    own = across[n:] - below.T @ below
    own.diagonal().add_(NOISE)
    grown = torch.empty(n + len(more), n + len(more), dtype=torch.float64).mT  # column by column, as LAPACK has it
    grown[:n, :n], grown[n:, :n], grown[n:, n:] = factor, below.T, torch.linalg.cholesky(own)
    return grown
