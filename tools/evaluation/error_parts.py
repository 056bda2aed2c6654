"""What goes wrong: kinds of errors, confusion, precision over recall."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import figures
from analysis.coco_files import Kind
from analysis.confusion import detection_confusion, image_confusions
from analysis.detection import evaluate
from analysis.errors import ERRORS, SPECIAL, ErrorAnalysis, error_analysis
from analysis.matching import read_scenes
from reports.tables import mean_and_error, shown

from evaluation.metrics import KINDS, annotation_file, results_files, segmentation_pairs
from evaluation.results import Row, name_of
from evaluation.tables import Picture, Table

if TYPE_CHECKING:
    from evaluation.study import RunningStudy

_NOTE = (
    "AP50 in percent, and by how many points it would rise if all errors of one kind were put right (TIDE; mean ± "
    "standard error over seeds). Such gains do not add up."
)


def errors(study: RunningStudy, name: str, rows: Sequence[Row], best: Sequence[Row]) -> list[Table | Picture]:
    """Tables of all rows of a task, and figures of the first seeds of the best."""
    task, settings, place = study.tasks[name], study.runs.truth(name, "test"), study.runs.store.place
    parts: list[Table | Picture] = []
    if task.kind == "segmentation":
        for row in best:
            pairs = segmentation_pairs(task, settings, place(_first(row)))
            confusion = image_confusions(pairs, len(task.classes)).sum(0)
            figure = figures.confusion_matrix(confusion, task.classes)
            parts.append(Picture("" if parts else "Confusion", figure, f"{name_of(row.line)}, first seed; pixels."))
        return parts
    truth = annotation_file(settings)
    for kind, called in KINDS.items():
        mine = [row for row in rows if all(kind in results_files(place(s["predictions"])) for s in row.seeds.values())]
        if not mine:
            continue
        analysed = {
            row.line: [_analysed(study, s["predictions"], truth, kind, task.classes) for s in row.seeds.values()]
            for row in mine
        }
        cells = []
        for row in mine:
            each = [{"AP50": a.ap, **a.gains} for a in analysed[row.line]]
            numbers = [shown(mean_and_error([one[n] for one in each])) for n in ("AP50", *ERRORS, *SPECIAL)]
            cells.append([name_of(row.line), *numbers])
        title = f"Errors of {'boxes' if called == 'box' else 'masks'}"
        parts.append(Table(title, ["line", "AP50", *ERRORS, *SPECIAL], cells, _NOTE))
        bars = {name_of(row.line): analysed[row.line][0] for row in best if row.line in analysed}
        parts.append(Picture("", figures.error_bars(bars), "The first seed of each entry's best line."))
    for row in best:
        results = results_files(place(_first(row)))["bbox"]
        classes, scenes = read_scenes(truth, results, classes=task.classes)
        matrix = figures.confusion_matrix(detection_confusion(scenes, len(classes)), classes)
        caption = f"{name_of(row.line)}, first seed; boxes with a score of 0.3 or more, IoU 0.5."
        parts.append(Picture("Confusion" if row is best[0] else "", matrix, caption))
    for row in best:
        curves = evaluate(truth, results_files(place(_first(row)))["bbox"], classes=task.classes).curves()
        figure = figures.precision_recall(curves, "boxes, IoU 0.5")
        title = "Precision over recall" if row is best[0] else ""
        parts.append(Picture(title, figure, f"{name_of(row.line)}, first seed."))
    return parts


def _first(row: Row) -> str:
    """The predictions of its first seed."""
    return str(next(iter(row.seeds.values()))["predictions"])


def _analysed(study: RunningStudy, key: str, truth: Path, kind: Kind, classes: Sequence[str]) -> ErrorAnalysis:
    def make(place: Path) -> dict[str, Any]:
        names, scenes = read_scenes(truth, results_files(place)[kind], kind, classes=classes)
        found = error_analysis(scenes, names)
        return {"ap": found.ap, "gains": found.gains, "counts": found.counts}

    return ErrorAnalysis(**study.runs.store.kept(key, f"errors-{kind}", make))
