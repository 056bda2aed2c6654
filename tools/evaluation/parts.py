"""What a report says of one task: tables and pictures, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from analysis import figures

from evaluation import tables
from evaluation.analyses import conditions
from evaluation.conditions import condition_parts
from evaluation.error_parts import errors
from evaluation.gallery import CAPTIONS, gallery, overview
from evaluation.inside import inside
from evaluation.results import Difference, Row, name_of
from evaluation.tables import Picture, Table

if TYPE_CHECKING:
    from evaluation.study import RunningStudy

#: Galleries, and looks inside networks, of so many lines of a task.
SHOWN = 8


def task_parts(
    study: RunningStudy, name: str, rows: Sequence[Row], compared: Sequence[Difference], costs: dict[str, Any]
) -> list[Table | Picture]:
    """All of one task, whose rows these are."""
    task = study.tasks[name]
    values = {name_of(row.line): row.values(task.metric) for row in rows if row.values(task.metric)}
    parts: list[Table | Picture | None] = [
        Picture("", overview(values, task.metric), "Dots are seeds, bars their means."),
        tables.results_table(rows),
        tables.differences_table(compared),
        tables.rates_table(rows, task.metric),
        tables.costs_table(rows, costs["models"]),
        tables.speed_table(rows, costs["speeds"].get(name, {})),
        *(tables.classes_table(rows, kind) for kind in ("IoU", "box AP", "mask AP")),
    ]
    asked = study.study.analyses
    best = best_lines(rows, task.metric)
    if compared:
        pairs = {d.what: d.found for d in compared}
        parts.insert(
            3, Picture("", figures.differences(pairs, f"difference in {task.metric}"), "Hollow: too few seeds.")
        )
    if "errors" in asked:
        parts += errors(study, name, rows, best)
    parts += condition_parts(rows, [t for t in study.tested if t.case.task == name], conditions(asked), task.metric)
    parts += _galleries(study, name, best)
    parts += [Picture(*each) for each in inside(study, best, asked)]
    return [part for part in parts if part is not None and (isinstance(part, Picture) or part.rows)]


def best_lines(rows: Sequence[Row], metric: str) -> list[Row]:
    """Of each entry the line with the best mean, the best entries first; as many as are shown."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.values(metric):
            best = found.setdefault(row.line.entry, row)
            if np.mean(row.values(metric)) > np.mean(best.values(metric)):
                found[row.line.entry] = row
    return sorted(found.values(), key=lambda row: -np.mean(row.values(metric)))[:SHOWN]


def _galleries(study: RunningStudy, name: str, rows: Sequence[Row]) -> Iterator[Picture]:
    task, settings = study.tasks[name], study.runs.truth(name, "test")
    for i, row in enumerate(rows):
        figure = gallery(task, settings, study.runs.store.place(next(iter(row.seeds.values()))["predictions"]))
        title = "" if i else "The worst images"
        yield Picture(title, figure, f"{name_of(row.line)}, seed {next(iter(row.seeds))}. {CAPTIONS[task.kind]}")
