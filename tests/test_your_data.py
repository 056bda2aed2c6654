"""The configs of docs/your-data.md, on tiny data: checked, trained with, evaluated and compared as the page says."""

import json
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
import yaml
from checks.report import check_config
from evaluation.entries import read_entries
from evaluation.study import RunningStudy
from forked import run as run_forked
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from prediction.models import image_pipeline
from training.openmmlab import build_runner, load_config

import backbones  # noqa: F401  registers the networks
from backbones.openmmlab.export import describe

PAGE = Path(__file__).resolve().parents[1] / "docs/your-data.md"
#: What is changed: iterations and batches are few, and the checkpoint must fit without resizing.
TINY = {"train_cfg.max_iters": 2, "train_cfg.val_interval": 2, "model.backbone.init_cfg.resize": None}
FEW = {"num_workers": 0, "batch_size": 2}
TINY |= {f"{split}_dataloader.{key}": value for split in ("train", "val", "test") for key, value in FEW.items()}


@pytest.fixture(scope="module")
def weights():
    """A pre-trained backbone, with its head."""
    torch.manual_seed(1)
    return {k: v + 0.01 for k, v in timm.create_model("vheat_nano", img_size=192).state_dict().items()}


@pytest.fixture
def here(tmp_path, monkeypatch, weights):
    """A folder outside the repository with the page's configs, data of the page's layout and a checkpoint."""
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (tmp_path / block.split()[1]).write_text(block)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        record = {"images": [], "annotations": [], "categories": []}
        record["categories"] = [{"id": i, "name": name} for i, name in ((9, "cat"), (40, "emu"), (5, "dog"))]
        for folder in (split, f"{split}_labels"):
            (tmp_path / "my_data" / folder).mkdir(parents=True)
        for image in range(2):
            pixels = rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)
            cv2.imwrite(str(tmp_path / f"my_data/{split}/{image}.jpg"), pixels)
            labels = np.zeros((48, 64), np.uint8)
            labels[:20], labels[30:] = 7, 26
            cv2.imwrite(str(tmp_path / f"my_data/{split}_labels/{image}.png"), labels)
            record["images"].append({"id": image + 10, "file_name": f"{image}.jpg", "width": 64, "height": 48})
            for category in (5, 9):
                box = {"bbox": [category, 8, 20, 24], "area": 480, "iscrowd": 0, "id": 100 * image + category}
                record["annotations"].append({**box, "image_id": image + 10, "category_id": category})
        (tmp_path / f"my_data/{split}.json").write_text(json.dumps(record))
    torch.save(weights, tmp_path / "my_backbone.pth")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "0")
    return tmp_path


class Seen(Hook):
    """The backbone as training begins, and the metrics at its end."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 0:
            self.backbone = {key: value.clone() for key, value in runner.model.backbone.state_dict().items()}

    def after_val_epoch(self, runner, metrics=None):
        self.metrics = metrics


def load(name, options):
    given = {"cfg_options": options, "work_dir": Path("work").absolute(), "launcher": "none", "local_rank": 0}
    config = load_config(ArgumentParser(), Namespace(config=Path(name).absolute(), **given), "train", "val")
    init_default_scope(config.default_scope)
    return config


@pytest.mark.filterwarnings("ignore")  # of the frameworks
@pytest.mark.parametrize(
    ("name", "metric", "examples"),
    [
        ("my_detector.py", "coco/bbox_mAP", {"cat": 2, "dog": 2}),
        ("my_segmentor.py", "mIoU", {"road": 2 * 20 * 64, "car": 2 * 18 * 64}),
    ],
)
def test_a_config_of_the_page_is_checked_and_trains(here, weights, name, metric, examples):
    some = {"model.test_cfg.score_thr": 0.0} if name == "my_detector.py" else {}  # it has learned nothing yet
    config = load(name, {**TINY, **some})
    report = check_config(config, ["train", "val"])
    assert report.findings == [] and report.examples == {"train": examples, "val": examples}
    runner = build_runner(config)
    seen = Seen()
    runner.register_hook(seen)
    runner.train()
    assert metric in seen.metrics and (here / "work/iter_2.pth").is_file()
    told = describe(runner.model, image_pipeline(config), (), ())  # tools/predict.py takes its exported file
    assert told["other_steps"] == "[]" and json.loads(told["resize"])["scale"] == [320, 240]
    shared = [key for key in seen.backbone if key in weights]
    assert len(shared) > 100 and all(torch.equal(seen.backbone[key], weights[key]) for key in shared)


@pytest.mark.filterwarnings("ignore")  # of the frameworks
def test_the_comparison_of_the_page_runs(here):
    """Its three backbones fit; one is trained and tested, by commands that find the data where the user is."""
    content = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1])
    few = {f"{split}_dataloader.{key}": value for split in ("train", "test") for key, value in FEW.items()}
    content["tasks"]["pictures"] |= {"iterations": 1, "cfg_options": few}
    (here / "my_comparison.yaml").write_text(yaml.safe_dump({**content, "rates": [1.0], "seeds": [0]}))
    study = read_entries(here / "my_comparison.yaml")
    assert {entry for _, entry in RunningStudy(study, here / "out").contenders} == {"mine", "convnext", "resnet"}

    def run(command, log, environment=None, name=""):
        done = run_forked(command, here)
        assert done.returncode == 0, done.stderr[-2000:]
        return 1.0

    mine = RunningStudy(study, here / "out", only=["mine"])
    mine.runs.run = run
    assert mine.run(1) == []
    (row,) = mine.rows()
    assert "box AP" in row.seeds[0]["metrics"] and row.missing == ()
