"""Trained networks under other conditions: corrupted images, other sizes, several versions of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from analysis import figures
from analysis.robustness import robustness

from evaluation.analyses import Condition
from evaluation.results import Row, name_of
from evaluation.runs import Case, Found, Runs
from evaluation.tables import Picture, Table


class Tested(NamedTuple):
    """A line of the table, by its first seed, under a condition: the metric, or why there is none."""

    case: Case
    condition: Condition
    value: float | str


def items(found: dict[Case, Found], wanted: Sequence[Condition]) -> list[tuple[Case, int]]:
    """What is to be tested: the first seed of each line, and the number of a condition."""
    first: dict[tuple[Any, ...], Case] = {}
    for case in found:
        first.setdefault(case[:4], case)
    return [(case, number) for case in first.values() for number in range(len(wanted))]


def test(
    runs: Runs, case: Case, found: Found, condition: Condition, environment: dict[str, str], metric: str
) -> Tested:
    """Test a case under a condition; where its config does not allow that, say so in the place of the metric."""
    try:
        key = runs.predict(case, found.rate, "test", environment, condition.changed)
    except ValueError as error:
        return Tested(case, condition, str(error))
    return Tested(case, condition, runs.measured(case.task, key, "test")[metric])


def condition_parts(rows: Sequence[Row], tested: Sequence[Tested], metric: str) -> list[Table | Picture]:
    """Tables and figures of one task: robustness, resolutions, test-time augmentation."""
    by_line = {row.line: [t for t in tested if tuple(row.line) == t.case[:4]] for row in rows}
    clean = {row.line: next(iter(row.seeds.values()))["metrics"][metric] for row in rows}
    note = f"{metric} of the first seed. "
    parts: list[Table | Picture] = []
    robust, corrupted = [], {}
    for line, all_of_it in by_line.items():
        values: dict[str, list[float]] = {}
        for t in all_of_it:
            if t.condition.analysis == "robustness" and not isinstance(t.value, str):
                values.setdefault(t.condition.name[0], []).append(t.value)
        if values and len(set(map(len, values.values()))) == 1:
            found = robustness(clean[line], values)
            corrupted[name_of(line)] = values
            groups = [f"{found.by_group[g]:.1f}" if g in found.by_group else "-" for g in _GROUPS]
            severities = ", ".join(f"{v:.1f}" for v in found.by_severity)
            robust.append(
                [name_of(line), f"{found.clean:.1f}", f"{found.mpc:.1f}", f"{found.rpc:.0f}", *groups, severities]
            )
    if robust:
        head = ["line", "clean", "mPC", "rPC (%)", *_GROUPS, "by severity"]
        explained = "mPC: the mean over corruptions and severities; rPC: mPC by that of clean images."
        parts.append(Table("Robustness", head, robust, note + explained))
        without = {name_of(line): clean[line] for line in clean}
        curves = figures.corruption_curves(without, corrupted, metric)
        parts.append(Picture("", curves, f"{metric} over the severity of each corruption; 0 is clean."))
    for analysis, title, explained in _OTHERS:
        names = list(dict.fromkeys(t.condition.name for t in tested if t.condition.analysis == analysis))
        cells, reasons = [], set()
        for line, all_of_it in by_line.items():
            mine = {t.condition.name: t.value for t in all_of_it if t.condition.analysis == analysis}
            reasons |= {value for value in mine.values() if isinstance(value, str)}
            shown = ["-" if isinstance(v := mine.get(n, ""), str) else f"{v:.1f}" for n in names]
            cells.append([name_of(line), f"{clean[line]:.1f}", *shown])
        if names:
            head = ["line", "as trained", *(" ".join(f"x {part:g}" for part in n) or "augmented" for n in names)]
            parts.append(Table(title, head, cells, " ".join([note + explained, *sorted(reasons)])))
        if names and analysis == "resolutions":
            sizes = {
                name_of(line): {
                    1.0: clean[line],
                    **{t.condition.name[0]: t.value for t in mine if t.condition.analysis == analysis},
                }
                for line, mine in by_line.items()
                if not any(isinstance(t.value, str) for t in mine if t.condition.analysis == analysis)
            }
            parts += [Picture("", figures.over_sizes(sizes, metric), "Over the size of the images.")] if sizes else []
    return parts


_GROUPS = ("noise", "blur", "weather", "digital")
_OTHERS = (
    ("resolutions", "Other sizes", "Sides of the images in multiples of those that were tested."),
    ("tta", "Test-time augmentation", "By the config's tta_pipeline."),
)
