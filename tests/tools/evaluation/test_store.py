"""Predictions are kept under all they depend on, and are there whole or not at all."""

import json
import sys
from pathlib import Path

import pytest
from evaluation import store as tool
from evaluation.locks import Busy, locked
from evaluation.store import Store, prediction_key
from files.paths import ROOT

CONFIG = {"model": {"type": "A"}, "test_dataloader": {"batch_size": 2}, "work_dir": "x"}


def test_the_key_changes_with_every_ingredient():
    key = prediction_key(CONFIG, "weights", "truth", "code")
    others = [
        prediction_key({**CONFIG, "model": {"type": "B"}}, "weights", "truth", "code"),
        prediction_key({**CONFIG, "test_dataloader": {"batch_size": 3}}, "weights", "truth", "code"),
        prediction_key(CONFIG, "weights 2", "truth", "code"),
        prediction_key(CONFIG, "weights", "truth 2", "code"),
        prediction_key(CONFIG, "weights", "truth", "code 2"),
    ]
    assert len({key, *others}) == 6
    assert prediction_key({**CONFIG, "work_dir": "y", "log_level": "INFO"}, "weights", "truth", "code") == key


def test_the_code_is_that_on_the_disk(tmp_path, monkeypatch):
    def version():
        tool.code_version.cache_clear()
        return tool.code_version()

    try:
        assert version() == version()
        monkeypatch.setattr(tool, "ROOT", tmp_path)
        for package in ("spectral_ops", "backbones", "adapters"):
            (tmp_path / package).mkdir()
            (tmp_path / package / "a.py").write_text("x = 1")
        first = version()
        (tmp_path / "adapters" / "a.py").write_text("x = 2")
        assert version() != first
        second = version()
        monkeypatch.setattr(tool, "_version", lambda name: "0" if name == "torch" else "1")
        assert version() != second
    finally:
        tool.code_version.cache_clear()


def test_modules_that_a_config_imports_are_code_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_network.py").write_text("x = 1")

    def of(*imports):
        return tool.imported_code({"custom_imports": {"imports": list(imports)}})

    assert tool.imported_code(CONFIG) == of("backbones.openmmlab") == ""
    first = of("backbones.openmmlab", "my_network")
    (tmp_path / "my_network.py").write_text("x = 2")
    assert first != of("my_network") != "" and of("my_network") == of("my_network")


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"weights")
    return path


class Commands:
    """In the place of tools/store_predictions.py, which fails from the test of a number on."""

    def __init__(self, leaves=True, fails=99):
        self.leaves, self.fails, self.count = leaves, fails, 0

    def __call__(self, command, log, environment=None, name=""):
        assert Path(command[1]) == ROOT / "tools/store_predictions.py" and Path(command[1]).is_file()
        self.count += 1
        for i, folder in enumerate(map(Path, command[3:])):
            if i >= self.fails:
                raise SystemExit("it failed")
            config = {}
            exec((folder / "config.py").read_text(), config)
            if self.leaves:
                Path(config["test_evaluator"]["outfile_prefix"] + ".bbox.json").write_text("[]")
            (folder / "done.json").write_text('{"seconds": 3.0}')
        return 4.0


def only(keys):
    (key,) = keys
    return key


def test_predictions_are_made_once(tmp_path, checkpoint):
    store, command = Store(tmp_path / "p"), Commands()

    def predict(config=CONFIG, truth="truth"):
        return only(store.predict([config], "detection", checkpoint, ("a.json", truth), "", run=command))

    key = predict()
    assert predict() == key and command.count == 1
    assert json.loads((store.place(key) / "record.json").read_text())["seconds"] == 3.0
    assert (store.place(key) / "found.bbox.json").is_file()
    assert predict(truth="other") != key and command.count == 2
    checkpoint.write_bytes(b"other weights")
    assert predict() != key and command.count == 3


def test_what_was_cut_off_is_made_again(tmp_path, checkpoint):
    store = Store(tmp_path / "p")
    with pytest.raises(FileNotFoundError, match=r"has left no predictions in .*\.part; see .*\.log"):
        store.predict([CONFIG], "detection", checkpoint, ("a.json", "truth"), "", run=Commands(leaves=False))
    key = prediction_key(CONFIG, tool.sha256(checkpoint), "truth", tool.code_version())
    with pytest.raises(FileNotFoundError, match=r"predictions are missing: .*run again without --report-only"):
        store.place(key)
    assert store.predict([CONFIG], "detection", checkpoint, ("a.json", "truth"), "", run=Commands()) == [key]
    with locked(tmp_path / "p" / f"{key}.lock"):  # what is there needs no lock
        assert store.predict([CONFIG], "detection", checkpoint, ("a.json", "truth"), "", run=None) == [key]


def test_another_commands_predictions_are_waited_for(tmp_path, checkpoint):
    key = prediction_key(CONFIG, tool.sha256(checkpoint), "truth", tool.code_version())
    with locked(tmp_path / f"{key}.lock"), pytest.raises(Busy):
        Store(tmp_path).predict([CONFIG], "detection", checkpoint, ("a.json", "truth"), "", run=Commands())


def test_several_are_made_by_one_command_and_those_that_are_good_are_kept(tmp_path, checkpoint):
    store, configs = Store(tmp_path / "p"), [{**CONFIG, "severity": i} for i in range(3)]

    def predict(command, count=3):
        return store.predict(configs[:count], "detection", checkpoint, ("a.json", "truth"), "", run=command)

    with pytest.raises(FileNotFoundError, match=r"predictions are missing: .*; run without --report-only"):
        predict(None)
    assert not store.folder.exists()
    first = predict(Commands(), 1)
    with pytest.raises(SystemExit, match="it failed"):
        predict(Commands(fails=1))
    command = Commands()
    keys = predict(command, 2)
    assert command.count == 0 and keys[:1] == first and len(set(keys)) == 2
    assert predict(command)[:2] == keys and command.count == 1 and not list(store.folder.glob("*.part"))


def test_metrics_are_computed_once_and_again_where_their_code_changes(tmp_path, checkpoint, monkeypatch):
    store = Store(tmp_path)
    (key,) = store.predict([CONFIG], "detection", checkpoint, ("a.json", "truth"), "", run=Commands())
    assert store.kept(key, "m", lambda place: (place / "found.bbox.json").read_text()) == "[]"
    assert store.kept(key, "m", lambda place: "not again") == "[]"
    monkeypatch.setattr(tool, "_code_of_metrics", lambda: "other")
    assert store.kept(key, "m", lambda place: "again") == "again"


def test_commands_run_where_the_user_is(tmp_path, monkeypatch):
    """From where relative paths of configs are meant."""
    monkeypatch.chdir(tmp_path)
    tool.run_here([sys.executable, "-c", "import os; print(os.getcwd())"], tmp_path / "log")
    assert (tmp_path / "log").read_text().strip() == str(tmp_path)
