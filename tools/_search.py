"""Which learning rate a search tries next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def next_rate(tried: Mapping[float, float], start: Sequence[float], factor: float, below: bool) -> float | None:
    """The learning rate to try after those with these scores, or None when the search is over.

    All of ``start`` come first, then ``factor`` times the largest as long as that is the best, and likewise down from
    the smallest with ``below``. Of equals the lowest rate is the best.
    """
    for rate in start:
        if rate not in tried:
            return rate
    best = max(sorted(tried), key=tried.__getitem__)
    if best == max(tried):
        return best * factor
    return best / factor if below and best == min(tried) else None
