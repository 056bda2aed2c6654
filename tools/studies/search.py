"""The search of a learning rate: which comes next, and which it ends with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence


def search(
    score: Callable[[float], float], start: Sequence[float], factor: float, *, below: bool
) -> dict[float, float]:
    """Try learning rates until the search is over; returns the score of each, in this order.

    Args:
        score: Trains with a learning rate and says how good the result is.
        start: Tried in any case.
        factor: To the next one beyond the largest of those, as long as the largest tried is the best.
        below: Whether it goes on below the smallest likewise.
    """
    tried: dict[float, float] = {}
    while (rate := next_rate(tried, start, factor, below)) is not None:
        tried[rate] = score(rate)
    return tried


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
