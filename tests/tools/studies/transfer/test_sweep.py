"""Learning rates are chosen with seed 0, runs are not repeated, pre-training is the comparison's."""

import json
from pathlib import Path

import pytest
from studies.transfer import sweep as tool
from studies.transfer.sweep import Sweep


def test_the_rate_is_chosen_with_seed_0_and_runs_are_not_repeated(tmp_path, monkeypatch, night):
    trained, tested = [], []

    def train(task, folder):
        assert len(json.loads((folder / "choosing.json").read_text())["images"]) == 2
        (folder / "run").mkdir()
        (folder / "run" / "last_checkpoint").write_text(str(folder / "config.py"))
        trained.append(folder.relative_to(tmp_path).as_posix())
        miou = {"rate1": 30.0, "rate3": 40.0, "rate10": 50.0, "rate30": 45.0}[folder.name]
        return {"mIoU": miou, "seconds": 5.0}

    def evaluate(task, folder):
        tested.append(folder.relative_to(tmp_path).as_posix())
        return {"mIoU": 45.0}

    monkeypatch.setattr(tool, "train", train)
    monkeypatch.setattr(tool, "evaluate", evaluate)
    monkeypatch.setattr(Sweep, "checkpoint", lambda self, task, seed: tmp_path / f"seed{seed}.pth")
    transfers = Sweep(tmp_path, tmp_path / "pretrained")
    for _ in range(2):
        record = transfers.measure("segmentation", "lora", 1)
    assert record["mIoU"] == 45.0 and record["rate"] == 10.0 and record["iterations"] == 600
    assert record["parameters"] == 16_192
    assert transfers.search("segmentation", "lora") == {1.0: 30.0, 3.0: 40.0, 10.0: 50.0, 30.0: 45.0}
    folder = "segmentation/lora"
    assert trained == [f"{folder}/seed0/rate{r}" for r in (1, 3, 10, 30)] + [f"{folder}/seed1/rate10"]
    assert tested == [f"{folder}/seed1/rate10"]
    assert "seed1.pth" in (tmp_path / folder / "seed1/rate10/config.py").read_text()
    assert transfers.search("segmentation", "frozen") == {}  # nothing to choose
    with pytest.raises(ValueError, match="of 600 iterations, not 20: give another --out"):
        Sweep(tmp_path, tmp_path / "pretrained", 20).measure("segmentation", "lora", 1)


def test_pretraining_is_the_comparisons_run(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(tool, "measure", lambda *arguments: asked.append(arguments))
    run = tmp_path / "segmentation/vheat/seed2/run"
    run.mkdir(parents=True)
    (run / "last_checkpoint").write_text("/somewhere/iter_1200.pth")
    assert Sweep(tmp_path / "out", tmp_path).checkpoint("segmentation", 2) == Path("/somewhere/iter_1200.pth")
    assert asked == [("segmentation", "vheat", 2, None, run.parent)]
