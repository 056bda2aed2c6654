"""Searches that are done, as lines of a file, and what each had found after any number of trials."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from files.whole import append_line, read_lines

from search_tables.arms import BUDGETED

#: A table, an arm and a seed.
Key = tuple[str, str, int]


class Curves:
    """The searches of a file of JSON lines; a line that was cut off is left out.

    A search of an arm that does not know how many trials there will be is the start of every longer one, so the longest
    serves all numbers. One that divides its trials (:data:`search_tables.arms.BUDGETED`) serves its own.

    Args:
        path: Of the file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[Key, dict[int, list[float]]] = defaultdict(dict)
        for row in read_lines(path):
            self._keep((row["table"], row["arm"], row["seed"]), row["curve"])

    def _keep(self, key: Key, curve: list[float]) -> None:
        self.found[key][len(curve)] = curve

    def add(self, key: Key, curve: list[float]) -> None:
        """Append a search to the file."""
        row = {"table": key[0], "arm": key[1], "seed": key[2], "trials": len(curve), "curve": curve}
        append_line(self.path, row)
        self._keep(key, curve)

    def of(self, key: Key, trials: int) -> list[float] | None:
        """What a search found in so many trials, a number for each; None where none is long enough."""
        known = self.found.get(key, {})
        if key[1] in BUDGETED:
            return known.get(trials)
        longest = known[max(known)] if known else []
        return longest[:trials] if len(longest) >= trials else None

    def regrets(self, table: str, arm: str, seeds: int, trials: int) -> dict[int, float]:
        """By seed, of those below ``seeds`` that are there, the regret after so many trials."""
        curves = {seed: self.of((table, arm, seed), trials) for seed in range(seeds)}
        return {seed: curve[-1] for seed, curve in curves.items() if curve is not None}


def missing(
    curves: Curves, tables: Sequence[str], seeds: Mapping[str, int], trials: int, cuts: Sequence[int]
) -> list[tuple[Key, int]]:
    """The searches, each with its number of trials, that a comparison lacks.

    Args:
        curves: The searches that are there.
        tables: Which are compared.
        seeds: Of each arm, how many.
        trials: Of a search.
        cuts: Numbers of trials at which arms are compared: those of the searches of arms that divide their trials.
    """
    return [
        ((table, arm, seed), number)
        for table in tables
        for seed in range(max(seeds.values()))
        for arm in seeds
        for number in (cuts if arm in BUDGETED else [trials])
        if seed < seeds[arm] and curves.of((table, arm, seed), number) is None
    ]
