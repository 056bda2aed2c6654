"""A study from its file to its report: two tasks, trainings and tests in processes of their own."""

import json
from pathlib import Path

import pytest
import torch
from evaluation.costs import model_costs
from evaluation.study import RunningStudy
from files.paths import ROOT
from forked import run as run_forked
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from small_tasks import CONFIGS, NANO, VIT, task_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks


@pytest.fixture
def content(digit_scenes, pretrained):
    small = {**NANO, "arch": {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}}
    return {
        "title": "Small <study>",
        "tasks": {kind: task_of(kind, digit_scenes) for kind in CONFIGS},
        "entries": {
            "small": {"backbone": small, "tasks": ["detection"]},
            "vit": {"backbone": VIT, "tasks": ["segmentation"]},
        },
        "protocols": ["scratch"],
        "shares": [0.5],
        "rates": [1.0],
        "analyses": ["errors", {"physics": {"small_modes": [0.1]}}, "features", "receptive_field"],
    }


def in_a_fork(commands):
    def run(command, log, environment=None, name=""):
        log.parent.mkdir(parents=True, exist_ok=True)
        commands.append([Path(command[1]).name, Path(command[2]).parent.name])
        done = run_forked([command[0], ROOT / command[1], *command[2:]], log.parent)
        log.write_text(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr[-2000:]
        return 1.0

    return run


def test_from_the_file_to_the_report(write, content, tmp_path):
    study = RunningStudy(write(**content), tmp_path / "out")
    commands = []
    study.runs.run = in_a_fork(commands)
    assert study.run(1) == []
    assert [name for name, _ in commands] == ["train.py", "store_predictions.py"] * 2
    markdown = study.report()
    for heading in (
        "## detection",
        "## segmentation",
        "### Errors of boxes",
        "### Errors of masks",
        "### IoU by class",
    ):
        assert heading in markdown
    record = json.loads((tmp_path / "out/results.json").read_text(), parse_constant=pytest.fail)  # no NaN
    assert [(r["task"], r["entry"], list(r["seeds"])) for r in record["rows"]] == [
        ("detection", "small", ["0"]),
        ("segmentation", "vit", ["0"]),
    ]
    (detected,), (segmented,) = (r["seeds"].values() for r in record["rows"])
    assert 0 <= detected["metrics"]["mask AP"] <= 100 and 0 <= segmented["metrics"]["mIoU"] <= 100
    assert record["costs"]["models"]["detection/small/scratch"]["backbone"] < 100_000
    assert len((tmp_path / "out/splits/segmentation/train_share0.5_seed0.txt").read_text().split()) == 6
    html = (tmp_path / "out/report.html").read_text()
    assert "<title>Small &lt;study&gt;</title>" in html and html.count("data:image/png") >= 10
    assert "Small modes" in html and html.index("Learned physics") < html.index("Small modes")
    assert "http" not in html.replace("http://www.w3.org", "")  # it needs nothing else

    again = RunningStudy(write(**{**content, "analyses": []}), tmp_path / "out", report_only=True)
    assert again.run(2) == [] and [row.plain() for row in again.rows()] == [row.plain() for row in study.rows()]

    changed = {
        **content,
        "tasks": {**content["tasks"], "detection": {**content["tasks"]["detection"], "iterations": 3}},
    }
    with pytest.raises(
        ValueError, match=r"tasks\.detection\.iterations was 2 when .* was made and is 3 now: give another"
    ):
        RunningStudy(write(**changed), tmp_path / "out")
    changed = {**content, "entries": {**content["entries"], "vit": {"backbone": NANO}}}
    with pytest.raises(ValueError, match=r"entries\.vit\.backbone\.\w+ was .* give another --out"):
        RunningStudy(write(**changed), tmp_path / "out")

    grown = {**content, "seeds": [0, 1], "analyses": []}
    more = RunningStudy(write(**grown), tmp_path / "out", only=["vit"], report_only=True)
    assert ["no training in" in line for line in more.run(1)] == [True]
    (row,) = more.rows()
    assert row.line.entry == "vit" and list(row.seeds) == [0] and row.missing == (1,) and len(commands) == 4


def test_what_is_asked_of_nothing(write, content, tmp_path):
    with pytest.raises(ValueError, match=r"--only: unknown 'viit' \(did you mean 'vit'\?\); accepted are small, vit"):
        RunningStudy(write(**content), tmp_path / "out", only=["viit"])
    with pytest.raises(ValueError, match=r"--tasks: unknown 'detect'"):
        RunningStudy(write(**content), tmp_path / "out", tasks=["detect"])
    with pytest.raises(FileNotFoundError, match="there is nothing to report on in"):
        RunningStudy(write(**content), tmp_path / "out", report_only=True)
    assert not (tmp_path / "out").exists()


def test_some_of_the_tasks(write, content, tmp_path):
    (name,) = list(content["tasks"])[:1]
    study = RunningStudy(write(**content), tmp_path / "out", tasks=[name])
    assert list(study.tasks) == [name] and {case.task for case in study.cases} == {name}
    assert {name for name, _ in study.contenders} == {name} and study.study.tasks.keys() == content["tasks"].keys()


def test_what_was_refused_leaves_no_trace_of_what_it_was(write, content, tmp_path):
    refused = {**content, "entries": {"small": {"backbone": {"type": "NoSuchNet"}, "tasks": ["detection"]}}}
    with pytest.raises(ValueError, match=r"entries\.small, task detection: the backbone cannot be built"):
        RunningStudy(write(**refused), tmp_path / "out")
    RunningStudy(write(**content), tmp_path / "out")


def test_what_is_tested_as_it_is_has_one_line(write, content, tmp_path, root, digit_scenes):
    task = {"segmentation": task_of("segmentation", digit_scenes)}
    config = root / "configs/digit_scenes/upernet_vheat-n.py"
    init_default_scope("mmseg")
    torch.save({"state_dict": MODELS.build(Config.fromfile(config).model).state_dict()}, tmp_path / "a.pth")
    own = {"config": {"segmentation": str(config)}, "checkpoint": "a.pth", "protocols": ["given"]}
    entries = {"vit": content["entries"]["vit"], "own": own}
    study = RunningStudy(write(**{**content, "tasks": task, "entries": entries, "seeds": [3, 4]}), tmp_path / "out")
    assert [tuple(c) for c in study.cases if c.entry == "own"] == [("segmentation", "own", "given", 1.0, 3)]
    assert [(c.share, c.seed) for c in study.cases if c.entry == "vit"] == [(0.5, 3), (0.5, 4)]


def test_each_seed_may_have_weights_of_its_own(write, content, tmp_path, pretrained):
    """Also where none of them is 0; where rates are searched, 0 must have some, too."""
    for seed in (3, 4):
        (tmp_path / f"w{seed}.pth").write_bytes(pretrained.read_bytes())
    task = {"segmentation": {**content["tasks"]["segmentation"], "choose": 2}}
    entries = {"a": {"backbone": NANO, "checkpoint": "w{seed}.pth", "protocols": ["full"]}}
    content = {**content, "tasks": task, "entries": entries, "seeds": [3, 4]}
    study = RunningStudy(write(**content), tmp_path / "out")
    (contender,) = study.contenders.values()
    assert model_costs(contender, "full", 3)["trained"] > 0
    with pytest.raises(ValueError, match=r"entries\.a, task segmentation: no such checkpoint: .*w0\.pth"):
        RunningStudy(write(**{**content, "rates": [1.0, 3.0]}), tmp_path / "out")
