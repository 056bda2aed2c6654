"""What goes wrong is shown under the right names."""

import shutil
from types import SimpleNamespace

import pytest
from analysis import figures
from coco_data import annotation, detection, write_coco
from evaluation.error_parts import errors
from evaluation.results import Line, Row
from evaluation.store import Store
from files.whole import write_json


@pytest.mark.filterwarnings("ignore")  # of figures that are not closed
def test_rows_of_the_confusion_have_the_names_of_their_categories(tmp_path, monkeypatch):
    """The file lists dog, cat and owl, whose ids are 20, 10 and 30; the config has no owls."""
    box = (10, 10, 40, 40)
    truth = [annotation(1, 10, box), annotation(1, 30, (90, 90, 40, 40))]
    files = write_coco(tmp_path, truth, [detection(1, 20, box, 0.9)])
    store = Store(tmp_path / "predictions")
    write_json(store.folder / "key/record.json", {})
    shutil.copy(files[1], store.folder / "key/found.bbox.json")
    runs = SimpleNamespace(store=store, truth=lambda task, split: {"ann_file": str(files[0])})
    task = SimpleNamespace(kind="detection", classes=("dog", "cat"))
    row = Row(Line("t", "e", "scratch", 1.0), {0: {"predictions": "key", "metrics": {}}}, 1.0, {}, ())
    shown = []
    monkeypatch.setattr(figures, "confusion_matrix", lambda matrix, names: shown.append((matrix.tolist(), names)))
    errors(SimpleNamespace(tasks={"t": task}, runs=runs), "t", [row], [row])
    assert shown == [([[0, 1, 0], [0, 0, 0], [0, 0, 0]], ("cat", "dog"))]
