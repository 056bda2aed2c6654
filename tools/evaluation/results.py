"""What has been measured, by line of the table, and the differences between lines seed by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from analysis.statistics import Paired, paired

from evaluation.runs import Case, Found, Runs


class Line(NamedTuple):
    """What a line of the table is about."""

    task: str
    entry: str
    protocol: str
    share: float


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        line: What it is about.
        seeds: Those that are there, with what their trainings recorded and their metrics in percent.
        rate: The learning rate in multiples of the config's.
        tried: The metric on the images that choose, by learning rate.
        missing: Seeds that are asked for and are not there.
    """

    line: Line
    seeds: dict[int, dict[str, Any]]
    rate: float
    tried: dict[float, float]
    missing: tuple[int, ...]

    def values(self, metric: str) -> list[float]:
        """Of a metric, by seed."""
        return [seed["metrics"][metric] for seed in self.seeds.values() if metric in seed["metrics"]]

    def recorded(self, name: str) -> float:
        """The mean of what trainings recorded; not a number where they have not."""
        values = [seed["record"][name] for seed in self.seeds.values() if name in seed["record"]]
        return sum(values) / len(values) if values else math.nan

    def plain(self) -> dict[str, Any]:
        """For a file."""
        return {**self.line._asdict(), **{k: v for k, v in asdict(self).items() if k != "line"}}


def collect(cases: Iterable[Case], found: Mapping[Case, Found], runs: Runs) -> list[Row]:
    """The rows of what has been done, with lines in the order of tasks, entries, protocols and shares."""
    lines: dict[Line, list[int]] = {}
    for case in sorted(cases, key=lambda case: list(runs.contenders).index((case.task, case.entry))):
        lines.setdefault(Line(*case[:4]), []).append(case.seed)
    rows = []
    for line, seeds in lines.items():
        there = {seed: found[case] for seed in sorted(seeds) if (case := Case(*line, seed)) in found}
        if not there:
            continue
        first = next(iter(there.values()))
        measured = {
            seed: {
                "metrics": runs.measured(line.task, f.key, "test"),
                "predictions": f.key,
                "record": {k: v for k, v in f.record.items() if k not in ("config", "start", "labels")},
            }
            for seed, f in there.items()
        }
        rows.append(Row(line, measured, first.rate, first.tried, tuple(s for s in seeds if s not in there)))
    order = {name: i for i, name in enumerate(dict.fromkeys(task for task, _ in runs.contenders))}
    return sorted(rows, key=lambda row: order[row.line.task])


class Difference(NamedTuple):
    """Between two rows of a task, over the seeds that both have."""

    task: str
    what: str
    metric: str
    found: Paired


def differences(rows: Sequence[Row], metrics: Mapping[str, str], reference: str) -> list[Difference]:
    """Every entry less the reference with the same protocol and share, and every protocol less an entry's first.

    Args:
        rows: Of all tasks.
        metrics: What is compared, by task.
        reference: An entry.
    """
    by_line = {row.line: row for row in rows}
    found = []
    for row in rows:
        line = row.line
        others = []
        if line.entry != reference:
            others.append(line._replace(entry=reference))
        first = next(r.line for r in rows if r.line[:2] == line[:2] and r.line.share == line.share)
        if first != line:
            others.append(first)
        for other in others:
            if other in by_line and (pair := _pair(row, by_line[other], metrics[line.task])):
                found.append(Difference(line.task, f"{name_of(line)} - {name_of(other)}", metrics[line.task], pair))
    return found


def _pair(row: Row, other: Row, metric: str) -> Paired | None:
    shared = [seed for seed in row.seeds if seed in other.seeds]
    values = [[r.seeds[seed]["metrics"].get(metric, math.nan) for seed in shared] for r in (row, other)]
    if not shared or not all(math.isfinite(value) for one in values for value in one):
        return None
    return paired(*values)


def name_of(line: Line) -> str:
    """An entry, its protocol, and the share of the labels where it is not all of them."""
    from evaluation.protocols import PROTOCOLS

    share = "" if line.share == 1 else f", {100 * line.share:g} %"
    return f"{line.entry}, {PROTOCOLS[line.protocol].title}{share}"
