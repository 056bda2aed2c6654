"""What a report says of one task: tables and pictures, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from analysis.errors import ERRORS, SPECIAL, error_analysis
from analysis.matching import read_scenes
from matplotlib.figure import Figure
from reports.pages import picture
from reports.tables import mean_and_error, shown

from evaluation import tables
from evaluation.conditions import condition_tables
from evaluation.gallery import CAPTIONS, gallery, overview
from evaluation.inside import inside
from evaluation.metrics import KINDS, annotation_file, results_files
from evaluation.results import Difference, Row, name_of
from evaluation.tables import Table

if TYPE_CHECKING:
    from evaluation.study import RunningStudy

#: Galleries, and looks inside networks, of so many lines of a task.
SHOWN = 8


@dataclass(frozen=True)
class Picture:
    """A figure with a title and a caption."""

    title: str
    figure: Figure
    caption: str

    def html(self) -> str:
        """With the picture inside."""
        return f"<h3>{self.title}</h3>" * bool(self.title) + picture(self.figure, self.caption)


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
    if "errors" in asked and task.kind == "detection":
        parts += _errors(study, name, rows)
    parts += condition_tables(rows, [t for t in study.tested if t.case.task == name], task.metric)
    best = best_lines(rows, task.metric)
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


def _predictions(study: RunningStudy, row: Row) -> Iterator[Path]:
    """The folders of all seeds."""
    for seed in row.seeds.values():
        yield study.runs.store.place(seed["predictions"])


def _errors(study: RunningStudy, name: str, rows: Sequence[Row]) -> list[Table]:
    truth = annotation_file(study.runs.truth(name, "test"))
    found = []
    for kind, called in KINDS.items():
        cells = []
        for row in rows:
            files = [results_files(place).get(kind) for place in _predictions(study, row)]
            if None in files:
                continue
            each = [_error_gains(study, seed["predictions"], truth, kind) for seed in row.seeds.values()]
            names = ("AP50", *ERRORS, *SPECIAL)
            cells.append([name_of(row.line), *(shown(mean_and_error([one[n] for one in each])) for n in names)])
        note = (
            "AP50 in percent, and by how many points it would rise if all errors of one kind were put right (TIDE; "
            "mean ± standard error over seeds). Such gains do not add up."
        )
        head = ["line", "AP50", *ERRORS, *SPECIAL]
        found.append(Table(f"Errors of {'boxes' if called == 'box' else 'masks'}", head, cells, note))
    return found


def _error_gains(study: RunningStudy, key: str, truth: Path, kind: Any) -> dict[str, float]:
    def make(place: Path) -> dict[str, float]:
        classes, scenes = read_scenes(truth, results_files(place)[kind], kind)
        analysed = error_analysis(scenes, classes)
        return {"AP50": analysed.ap, **analysed.gains}

    kept: Callable[..., Any] = study.runs.store.kept
    return kept(key, f"errors-{kind}", make)


def _galleries(study: RunningStudy, name: str, rows: Sequence[Row]) -> Iterator[Picture]:
    task, settings = study.tasks[name], study.runs.truth(name, "test")
    for i, row in enumerate(rows):
        figure = gallery(task, settings, next(_predictions(study, row)))
        title = "" if i else "The worst images"
        yield Picture(title, figure, f"{name_of(row.line)}, seed {next(iter(row.seeds))}. {CAPTIONS[task.kind]}")
