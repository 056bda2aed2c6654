"""Studies of tasks with several modalities, test sets and dates."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
import yaml
from analysis.confusion import read_labels
from evaluation.assembly import Contender
from evaluation.costs import model_costs, speeds
from evaluation.entries import read_entries
from evaluation.metrics import measure
from evaluation.runs import Case, Runs
from evaluation.tasks import ReadyTask
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

pytestmark = pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``:UserWarning")
FOLDER = "configs/rs_vheat"
CONFIGS = {
    "clear": f"{FOLDER}/upernet_rs-vheat-n_rs-scenes.py",
    "cloudy": f"{FOLDER}/upernet_rs-vheat-n_rs-scenes.py",
    "sar": f"{FOLDER}/upernet_rs-vheat-n_rs-scenes-sar.py",
    "change": f"{FOLDER}/upernet_siamese-rs-vheat-n_rs-scenes.py",
    "detection": f"{FOLDER}/faster-rcnn_rs-vheat-n_fpn_rs-scenes.py",
}
MORE = {"clear": {"part": 0}, "cloudy": {"part": 1, "trained_by": "clear"}, "change": {"metric": "F1"}}


def task_of(root, data, name):
    """A task on other data than the config's."""
    config = Config.fromfile(root / CONFIGS[name])
    options = {}
    for split in ("train", "val", "test"):
        dataset = config[f"{split}_dataloader"].dataset
        for i in range(len(dataset.get("datasets", ()))):
            options[f"{split}_dataloader.dataset.datasets.{i}.data_root"] = str(data)
        if "datasets" not in dataset:
            options[f"{split}_dataloader.dataset.data_root"] = str(data)
        if name == "detection" and split != "train":
            options[f"{split}_evaluator.ann_file"] = f"{data}/{split}.json"
    return {"config": CONFIGS[name], "iterations": 2, "choose": "val", "cfg_options": options, **MORE.get(name, {})}


@pytest.fixture(scope="module")
def weights(root, tmp_path_factory):
    """A pre-trained backbone of both modalities."""
    torch.manual_seed(3)
    net = MODELS.build(Config.fromfile(root / CONFIGS["clear"]).model.backbone)
    path = tmp_path_factory.mktemp("weights") / "both.pth"
    torch.save({name: t + 0.1 if t.is_floating_point() else t for name, t in net.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def study(root, rs_scenes, weights, tmp_path_factory):
    """All tasks and two entries."""
    path = tmp_path_factory.mktemp("study") / "study.yaml"
    tasks = {name: task_of(root, rs_scenes, name) for name in CONFIGS}
    entries = {
        "random": {"backbone": "task", "protocols": ["scratch"]},
        "trained": {"backbone": "task", "checkpoint": str(weights), "protocols": ["full"]},
    }
    content = {"tasks": tasks, "entries": entries, "protocols": ["full"], "rates": [1.0], "shares": [0.5]}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_entries(path)


@pytest.fixture(scope="module")
def ready(study):
    return {name: ReadyTask(task, study.file.parent) for name, task in study.tasks.items()}


def test_conditions_share_trainings_and_are_tested_apart(study, ready, tmp_path):
    contenders = {(name, "random"): Contender(ready[name], study.entries["random"]) for name in ("clear", "cloudy")}
    one, other = (c.training("scratch", 0.5, 0, 1.0) for c in contenders.values())
    assert one == other and len(ready["clear"].images[0]) == 10
    runs = Runs(tmp_path, contenders)
    places = [runs.place(Case(name, "random", "scratch", 0.5, 0), 1.0) for name in ("clear", "cloudy")]
    assert places[0] == places[1]
    for (name, _), contender in contenders.items():
        tested = contender.testing(contender.model("scratch", None).to_dict(), "test")["test_dataloader"]["dataset"]
        assert tested["data_prefix"]["img_path"] == f"test/optical_{name}" and len(ready[name].tested) == 5
        assert contender.truth("test")["data_prefix"] == tested["data_prefix"]


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_reach_the_tasks_own_backbone(name, study, ready, weights):
    contender = Contender(ready[name], study.entries["trained"])
    contender.check_checkpoint(0)
    config = contender.model("full", weights)
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    model.init_weights()
    net = model.backbone.backbone if name == "change" else model.backbone
    saved = torch.load(weights, weights_only=True)
    ours = {key: t for key, t in net.state_dict().items() if not key.endswith("description")}
    shared = [key for key, t in ours.items() if key in saved and t.shape == saved[key].shape]  # maps are resized
    assert len(shared) > 100 and all(torch.equal(ours[key], saved[key]) for key in shared)
    assert set(net.stem) == ({"sar"} if name == "sar" else {"optical", "sar"})
    ready[name].check_data(chooses=True, shares=[0.5])


def test_work_and_speed_are_of_the_bands(study, ready):
    contender = Contender(ready["change"], study.entries["random"])
    one = Contender(ready["sar"], study.entries["random"])
    assert ready["change"].channels == 10 and ready["sar"].channels == 2
    pair, single = (model_costs(c, "scratch", 0)["macs"] for c in (contender, one))
    assert 3.7 < pair / single < 4.2  # two dates of two modalities
    assert speeds({"a": one.net}, (64, 64), 2, rounds=1, batch=1)["a"] > 0


def test_f1_of_change_is_that_of_the_pixels(ready, rs_scenes, tmp_path):
    (tmp_path / "labels").mkdir()
    rng, counts = np.random.default_rng(0), np.zeros(3)
    for path in sorted((rs_scenes / "test_changes/labels").iterdir()):
        truth = read_labels(path)
        found = np.where(rng.random(truth.shape) < 0.8, truth, 1 - truth)
        cv2.imwrite(str(tmp_path / "labels" / path.name), found)
        counts += [(found & truth).sum(), found.sum(), truth.sum()]
    measured = measure(ready["change"], ready["change"].settings("test"), tmp_path)
    assert measured["F1"] == pytest.approx(200 * counts[0] / (counts[1] + counts[2]))


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("cloudy", {"part": 2}, "tasks.cloudy.part must be below 2"),
        ("cloudy", {"part": None}, "say which with part"),
        ("cloudy", {"trained_by": "x"}, "tasks.cloudy.trained_by: unknown"),
        ("sar", {"trained_by": "cloudy"}, "cloudy is itself trained by clear"),
        ("detection", {"metric": "F1"}, "F1 is no metric of detection"),
    ],
)
def test_what_does_not_fit_is_said(task, changes, message, study, tmp_path):
    content = yaml.safe_load(study.file.read_text())
    content["tasks"][task] |= changes
    (tmp_path / "x.yaml").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        ReadyTask(read_entries(tmp_path / "x.yaml").tasks[task], tmp_path).settings("test")


def test_the_studys_training_sets_are_small(root):
    """The file of the repository asks for what exists."""
    study = read_entries(root / "configs/evaluation/remote_sensing.yaml")
    assert study.tasks["both_cloudy"].trained_by == "both_clear" and study.shares == (0.1,)
    assert all(task.config.is_file() for task in study.tasks.values())
