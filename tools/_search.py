"""Which learning rate a search tries next, and which it ends with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def best_rate(tried: Mapping[float, float]) -> float:
    """The rate with the highest score, of equals the lowest; a score that is not a number is the worst."""
    return max(sorted(tried), key=lambda rate: _score(tried[rate]))


def next_rate(tried: Mapping[float, float], start: Sequence[float], factor: float, below: bool) -> float | None:
    """The learning rate to try after those with these scores, or None when the search is over.

    All of ``start`` come first, then ``factor`` times the largest as long as that is better than all others, and
    likewise down from the smallest with ``below``.
    """
    for rate in start:
        if rate not in tried:
            return rate
    best = best_rate(tried)
    if [_score(score) for score in tried.values()].count(_score(tried[best])) > 1:
        return None
    if best == max(tried):
        return best * factor
    return best / factor if below and best == min(tried) else None


def _score(found: float) -> float:
    return -math.inf if math.isnan(found) else found
