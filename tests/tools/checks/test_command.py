"""tools/check_dataset.py as a user runs it: what it prints, writes and ends with."""

import json
import runpy
import sys

import pytest


@pytest.fixture
def command(root, tmp_path, monkeypatch, capsys, detection):
    """Run it in this process; its exit code, and what it printed."""
    config = tmp_path / "config.py"
    config.write_text("\n".join(f"{key} = {value!r}" for key, value in detection.config.items()))
    monkeypatch.setattr(sys, "path", [str(root / "tools"), *sys.path])
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["check_dataset.py", "config.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(root / "tools/check_dataset.py"), run_name="__main__")
        return ended.value.code, "".join(capsys.readouterr())

    return call


def test_sound_data_end_with_0(command):
    code, text = command("--splits", "train", "val")
    assert code == 0 and "train: 2 images; cat 2, dog 2" in text and "test" not in text
    assert "kinds of errors: 0, of warnings: 0" in text


def test_warnings_end_with_0_and_errors_with_1_and_a_record(command, detection):
    detection.edit("val", lambda r: r["annotations"][0].update(bbox=[26, 6, 8, 10]))
    assert command()[0] == 0
    detection.edit("val", lambda r: r["annotations"][0].update(bbox=[4, 6, -8, 10]))
    code, text = command("--json", "out/found.json")
    assert code == 1 and "error box-inverted (val): 1 x: a width or height is negative" in text
    assert "annotation 5 of 0.png: [4, 6, -8, 10]" in text and "cure: write [left, top, width, height]" in text
    record = json.loads((detection.folder / "out/found.json").read_text())
    assert record["broken"] and [f["kind"] for f in record["findings"]] == ["box-inverted"]


def test_absent_data_are_a_finding_and_data_root_is_one_option(command, detection):
    config = detection.folder / "config.py"
    config.write_text(config.read_text().replace(str(detection.folder), "absent/") + "\ndata_root = 'absent/'")
    code, text = command()
    assert code == 1 and "place-missing (train)" in text and "draw them" in text
    assert command("--cfg-options", "data_root=.")[0] == 0


def test_data_are_looked_at_before_there_are_weights(command):
    weights = "model.backbone.init_cfg.checkpoint=absent.pth"
    assert command("--cfg-options", "model.backbone.init_cfg.type=Pretrained", weights)[0] == 0


def test_what_cannot_be_checked_is_no_success(command, detection):
    code, text = command("--splits", "train", "--cfg-options", "train_dataloader.dataset.backend_args.backend=petrel")
    assert code == 2 and "nothing was checked: train: CocoDataset behind backend_args" in text
    config = detection.folder / "config.py"
    config.write_text(config.read_text().replace("test_dataloader", "data"))
    code, text = command("--splits", "test")
    assert code == 2 and "the config has no test_dataloader; it has train, val" in text
