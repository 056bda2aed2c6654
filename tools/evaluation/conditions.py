"""Trained networks under other conditions: corrupted images, other sizes, several versions of an image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from typing import Any, NamedTuple

from analysis import figures
from analysis.robustness import robustness

from backbones.openmmlab import CORRUPTIONS
from evaluation.analyses import Condition
from evaluation.results import Line, Row, name_of
from evaluation.runs import Case, Found, Runs
from evaluation.tables import Picture, Table


class Outcome(NamedTuple):
    """A line of the table, by its first seed, under a condition: the metric, or why there is none."""

    case: Case
    condition: Condition
    value: float | str


def items(found: dict[Case, Found], wanted: Sequence[Condition]) -> list[tuple[Case, tuple[int, ...]]]:
    """What is tested by one process each: the first seed of a line, and the numbers of some conditions.

    These are the severities of one corruption; others are alone.
    """
    first: dict[tuple[Any, ...], Case] = {}
    for case in sorted(found, key=lambda case: case.seed):
        first.setdefault(case[:4], case)
    together: dict[tuple[Any, ...], list[int]] = {}
    for number, condition in enumerate(wanted):
        name = condition.name[:1] if condition.analysis == "robustness" else condition.name
        together.setdefault((condition.analysis, *name), []).append(number)
    return [(case, tuple(numbers)) for case in first.values() for numbers in together.values()]


def outcomes_of(
    runs: Runs, case: Case, found: Found, wanted: Sequence[Condition], environment: dict[str, str], metric: str
) -> list[Outcome]:
    """Test a case under conditions; where its config does not allow them, say so in the place of the metric."""
    try:
        keys = runs.predict(case, found.rate, "test", environment, [condition.changed for condition in wanted])
    except ValueError as error:
        return [Outcome(case, condition, str(error)) for condition in wanted]
    metrics = [runs.measured(case.task, key, "test").get(metric, math.nan) for key in keys]
    return [Outcome(case, condition, value) for condition, value in zip(wanted, metrics, strict=True)]


def condition_parts(
    rows: Sequence[Row], tested: Sequence[Outcome], wanted: Sequence[Condition], metric: str
) -> list[Table | Picture]:
    """Tables and figures of one task: robustness, resolutions, test-time augmentation.

    Args:
        rows: Of the task.
        tested: What has been tested of the task.
        wanted: All conditions; sums over corruptions are of lines that have been tested under all of them.
        metric: The task's.
    """
    clean = {row.line: next(iter(row.seeds.values()))["metrics"].get(metric, math.nan) for row in rows}
    values: dict[str, dict[Line, dict[Any, float]]] = {}
    reasons: dict[str, set[str]] = {}
    for t in tested:
        line = Line(*t.case[:4])
        if isinstance(t.value, str):
            reasons.setdefault(t.condition.analysis, set()).add(t.value)
        elif line in clean:
            values.setdefault(t.condition.analysis, {}).setdefault(line, {})[t.condition.name] = t.value
    asked = {condition.name for condition in wanted if condition.analysis == "robustness"}
    parts = [*_robustness(clean, values.get("robustness", {}), asked, metric)]
    for analysis, title, explained in _OTHERS:
        found = values.get(analysis, {})
        names = sorted({name for each in found.values() for name in each})
        head = ["line", "as trained", *(" ".join(f"x {part:g}" for part in name) or "augmented" for name in names)]
        cells = [
            [name_of(line), f"{clean[line]:.1f}", *(f"{each[n]:.1f}" if n in each else "-" for n in names)]
            for line, each in found.items()
        ]
        note = " ".join([f"{metric} of the first seed.", explained, *sorted(reasons.get(analysis, ()))])
        if found or analysis in reasons:
            parts.append(Table(title, head, cells or [["-", "-"]], note))
        if found and analysis == "resolutions":
            sizes = {name_of(n): {1.0: clean[n], **{name[0]: v for name, v in e.items()}} for n, e in found.items()}
            parts.append(Picture("", figures.over_sizes(sizes, metric), "Over the size of the images."))
    return parts


def _robustness(
    clean: dict[Line, float], found: dict[Line, dict[Any, float]], asked: Set[Any], metric: str
) -> Iterator[Table | Picture]:
    cells, corrupted = [], {}
    partly = [name_of(line) for line, each in found.items() if each.keys() < asked]
    for line, each in found.items():
        if name_of(line) in partly:
            continue
        values: dict[str, list[float]] = {}
        for (name, _), value in sorted(each.items()):
            values.setdefault(name, []).append(value)
        corrupted[name_of(line)] = values
        sums = robustness(clean[line], values)
        groups = [f"{sums.by_group[g]:.1f}" if g in sums.by_group else "-" for g in CORRUPTIONS]
        severities = ", ".join(f"{v:.1f}" for v in sums.by_severity)
        cells.append(
            [
                name_of(line),
                f"{sums.clean:.1f}",
                f"{sums.mpc:.1f}",
                "-" if math.isnan(sums.rpc) else f"{sums.rpc:.0f}",
                *groups,
                severities,
            ]
        )
    if cells:
        head = ["line", "clean", "mPC", "rPC (%)", *CORRUPTIONS, "by severity"]
        numbers = f"{len({name for name, _ in asked})} corruptions and {len({s for _, s in asked})} severities"
        note = f"{metric} of the first seed. mPC: mean over {numbers}; rPC: mPC / clean."
        if partly:
            note += f" Left out, as some tests are missing: {'; '.join(partly)}."
        yield Table("Robustness", head, cells, note)
        curves = figures.corruption_curves({name_of(n): v for n, v in clean.items()}, corrupted, metric)
        yield Picture("", curves, f"{metric} over the severity of each corruption; 0 is clean.")


_OTHERS = (
    ("resolutions", "Other sizes", "Sides of the images in multiples of those that were tested."),
    ("tta", "Test-time augmentation", "By the config's tta_pipeline."),
)
