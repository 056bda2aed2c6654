"""Statistics of contenders over the same seeds: who is better, how often, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Against:
    """One contender against another over all tables and seeds.

    Attributes:
        better: Probability that it ends with the smaller regret on one table and seed, ties counting half.
        low, high: 95 % interval of it, over seeds within tables.
        p: Of Wilcoxon's signed ranks, two-sided, over the pairs of all tables.
        pairs: How many there are.
    """

    better: float
    low: float
    high: float
    p: float
    pairs: int


def against(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], seed: int = 0) -> Against:
    """Compare regrets of two contenders, by table a list with one for each seed.

    Regrets of different tables are made comparable by the ranks of both contenders' in the table together.

    Example:
        >>> against({"t": [1, 1, 2, 1, 1, 1]}, {"t": [2, 2, 2, 3, 3, 3]}).better
        0.9166666666666666
    """
    wins = {name: _wins(np.asarray(first[name]), np.asarray(second[name])) for name in first}
    rng = np.random.default_rng(seed)
    drawn = [[rng.choice(w, len(w)).mean() for _ in range(2000)] for w in wins.values()]
    low, high = np.quantile(np.mean(drawn, 0), (0.025, 0.975))
    differences = np.concatenate([_rank_differences(np.asarray(first[n]), np.asarray(second[n])) for n in first])
    p = float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0
    return Against(float(np.mean([w.mean() for w in wins.values()])), float(low), float(high), p, len(differences))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(np.argsort(p)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def mean_ranks(regrets: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, float]:
    """By contender its mean rank over tables and seeds, 1 for the best, from regrets by contender and table."""
    arms = list(regrets)
    ranks = [stats.rankdata([regrets[arm][table] for arm in arms], axis=0).mean(1) for table in regrets[arms[0]]]
    return dict(zip(arms, np.mean(ranks, 0).tolist(), strict=True))


def _wins(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first < second) + (first == second) / 2


def _rank_differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    ranks = stats.rankdata(np.concatenate([first, second])) / (2 * len(first))
    return ranks[: len(first)] - ranks[len(first) :]
