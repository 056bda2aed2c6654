"""What became slower beside the others, against a record."""

from __future__ import annotations

import statistics
from typing import Any, NamedTuple

import torch

from benchmarks.case import Group
from benchmarks.records import measure, timed

TOLERANCE = 0.05
RETRIES = 3
#: How the names of our own contenders begin.
OWN = ("ours", "matmul (ours)", "MoPPA", "vheat", "vwave", "vtail", "vpoisson", "vmix")


class Pair(NamedTuple):
    """Two contenders of a case, one of ours and another."""

    group: str
    case: str
    ours: str
    other: str


class Slower(NamedTuple):
    """A contender of ours, and the part that is left of its speed."""

    group: str
    case: str
    ours: str
    left: float


def ratios(record: dict[str, Any]) -> dict[Pair, float]:
    """How much faster each contender of ours is than each of the others; than our first where there are no others."""
    found: dict[Pair, float] = {}
    for group_name, group in record["groups"].items():
        for title, case in group["cases"].items():
            times = timed(case)
            own = [name for name in times if name.startswith(OWN)]
            for name in own:
                for other in [name for name in times if name not in own] or own[:1]:
                    if other != name:
                        found[Pair(group_name, title, name, other)] = times[other] / times[name]
    return found


def regressions(now: dict[Pair, float], reference: dict[Pair, float], tolerance: float) -> list[Slower]:
    """Which of ours are slower than in the reference, in the median beside the others of their case.

    A contender of ours that became slower did so beside all of them; one of them that became faster is of no concern.
    """
    changes: dict[tuple[str, str, str], list[float]] = {}
    for pair, ratio in now.items():
        if pair in reference:
            changes.setdefault(pair[:3], []).append(ratio / reference[pair])
    medians = {contender: statistics.median(values) for contender, values in changes.items()}
    return [Slower(*contender, median) for contender, median in medians.items() if median < 1 - tolerance]


def check(
    record: dict[str, Any],
    kept: dict[str, Any],
    groups: dict[str, Group],
    device: torch.device,
    rounds: int,
    seconds: float,
) -> list[str]:
    """What became slower against the record kept of this type of machine, after a second and third look."""
    best, reference = ratios(record), ratios(kept)
    for _ in range(RETRIES):
        for group, title in dict.fromkeys(slower[:2] for slower in regressions(best, reference, TOLERANCE)):
            print(f"again: {group}, {title}", flush=True)
            case = next(case for case in groups[group].cases if case.name == title)
            again = ratios({"groups": {group: {"cases": {title: measure(case, device, 2 * rounds, seconds)}}}})
            best |= {pair: max(ratio, best[pair]) for pair, ratio in again.items()}
    return [
        f"{slower.group}, {slower.case}: {slower.ours} has {slower.left:.2f} of its speed beside the others"
        for slower in regressions(best, reference, TOLERANCE)
    ]
