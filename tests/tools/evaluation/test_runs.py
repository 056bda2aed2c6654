"""Runs: learning rates are chosen with seed 0 where nothing is tested, and nothing is run twice."""

import json
import re
import shutil
import threading
from pathlib import Path

import pytest
from evaluation.assembly import Contender
from evaluation.locks import Busy, locked
from evaluation.runs import Case, Runs
from evaluation.tasks import ReadyTask
from evaluation.work import work_through
from files.paths import ROOT
from small_tasks import NANO, entry_of, task_of

CASE = Case("detection", "e", "scratch", 1.0, 0)


def read(config):
    content = {}
    exec(Path(config).read_text(), content)
    return content


class Commands:
    """In the place of tools/train.py and tools/store_predictions.py: a training's weights are its folder's name.

    Detections are the truth with scores, of which as many are left out as say how good a learning rate is.
    """

    def __init__(self, best=3.0, dies=None):
        self.best, self.dies, self.trained, self.tested = best, dies, [], []

    def __call__(self, command, log, environment=None, name=""):
        if Path(command[1]) == ROOT / "tools/train.py":
            config = read(command[2])
            folder = Path(command[command.index("--work-dir") + 1])
            assert command[-1] == "--resume" and not config["val_dataloader"] and not config["test_dataloader"]
            self.trained.append("/".join(folder.parts[-4:-1]))
            if self.dies == len(self.trained):
                self.dies = None
                raise KeyboardInterrupt
            (folder / "x" / "vis_data").mkdir(parents=True, exist_ok=True)
            (folder / "x" / "vis_data" / "scalars.json").write_text('{"loss": 1, "memory": 70, "images_per_s": 5.0}\n')
            (folder / "iter_2.pth").write_text(str(folder))
            (folder / "last_checkpoint").write_text(str(folder / "iter_2.pth"))
            return 4.0
        (folder,) = map(Path, command[3:])
        config = read(folder / "config.py")
        rate = float(re.search(r"/rate([^/]+)/", Path(command[2]).read_text())[1])
        truth = json.loads(Path(config["test_evaluator"]["ann_file"]).read_text())
        self.tested.append((len(truth["images"]), rate))
        kept = truth["annotations"][: max(1, round(len(truth["annotations"]) / (1 + abs(rate - self.best))))]
        found = [{k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9} for a in kept]
        Path(config["test_evaluator"]["outfile_prefix"] + ".bbox.json").write_text(json.dumps(found))
        (folder / "done.json").write_text('{"seconds": 2.0}')
        return 2.0


@pytest.fixture(scope="module")
def contender(ready):
    return Contender(ready["detection"], entry_of(NANO, protocols=["scratch"]))


def runs(folder, contender, commands, **more):
    return Runs(folder, {("detection", "e"): contender}, run=commands, **more)


def test_the_rate_is_chosen_with_seed_0_on_images_held_out(tmp_path, contender):
    commands = Commands(best=3.0)
    found = runs(tmp_path, contender, commands).finish(CASE, {})
    assert found.rate == 3.0 and list(found.tried) == [0.3, 1.0, 3.0, 9.0]  # on beyond the outermost
    assert [t.removeprefix("share1/") for t in commands.trained] == [f"seed0/rate{r}" for r in ("0.3", "1", "3", "9")]
    assert [n for n, _ in commands.tested] == [3, 3, 3, 3, 6] and commands.tested[-1] == (6, 3.0)
    assert found.record["memory"] == 70 and found.record["images_per_s"] == 5.0 and found.record["seconds"] == 4.0

    other = runs(tmp_path, contender, commands).finish(CASE._replace(seed=2), {})
    assert other.rate == 3.0 and commands.trained[4:] == ["share1/seed2/rate3"]
    assert commands.tested[5:] == [(6, 3.0)] and other.key != found.key


def test_a_killed_study_goes_on_where_it_was(tmp_path, contender):
    commands = Commands(dies=3)
    with pytest.raises(KeyboardInterrupt):
        runs(tmp_path, contender, commands).finish(CASE, {})
    found = runs(tmp_path, contender, commands).finish(CASE, {})
    assert found.rate == 3.0
    assert [t.rpartition("rate")[2] for t in commands.trained] == ["0.3", "1", "3", "3", "9"]  # the third is resumed
    assert len(commands.tested) == len(set(commands.tested)) == 5

    before = (list(commands.trained), list(commands.tested))
    again = runs(tmp_path, contender, commands, only_there=True).finish(CASE, {})
    assert again == found and (commands.trained, commands.tested) == before
    metrics = runs(tmp_path, contender, commands).measured("detection", found.key, "test")
    assert metrics["box AP"] == pytest.approx(100) and set(metrics["classes"]["box AP"]) == set("0123456789")


def test_what_is_missing_is_said_where_nothing_may_run(tmp_path, contender):
    commands = Commands()
    with pytest.raises(FileNotFoundError, match=r"no training in .*rate0.3: run without --report-only"):
        runs(tmp_path, contender, commands, only_there=True).finish(CASE, {})
    case_runs = runs(tmp_path, contender, commands)
    case_runs.train(CASE, 1.0, {})
    with pytest.raises(FileNotFoundError, match=r"predictions are missing: .*; run without --report-only"):
        runs(tmp_path, contender, commands, only_there=True).predict(CASE, 1.0, "test", {})
    assert not commands.tested


def test_other_settings_need_another_folder(tmp_path, contender, ready, pretrained):
    runs(tmp_path, contender, Commands()).train(CASE, 1.0, {})
    other = Contender(ready["detection"], entry_of({**NANO, "drop_path_rate": 0.1}, protocols=["scratch"]))
    with pytest.raises(ValueError, match=r"result.json was trained with another config, which differs in model: give"):
        runs(tmp_path, other, Commands()).train(CASE, 1.0, {})

    copy = tmp_path / "w.pth"
    copy.write_bytes(pretrained.read_bytes())
    full, case = Contender(ready["detection"], entry_of(NANO, copy, ["full"])), CASE._replace(protocol="full")
    runs(tmp_path, full, Commands()).train(case, 1.0, {})
    copy.write_bytes(copy.read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"result.json started from another checkpoint than is there now"):
        runs(tmp_path, full, Commands()).train(case, 1.0, {})


@pytest.mark.parametrize("kind", ["detection", "segmentation"])
def test_other_labels_need_another_folder(tmp_path, write, digit_scenes, kind):
    data = tmp_path / "data"
    shutil.copytree(digit_scenes, data)

    def train():
        study = write(tasks={kind: task_of(kind, data)}, entries={"e": {"backbone": NANO}}, protocols=["scratch"])
        contender = Contender(ReadyTask(study.tasks[kind], tmp_path), entry_of(NANO, protocols=["scratch"]))
        these = Runs(tmp_path / "out", {(kind, "e"): contender}, run=Commands())
        return these.train(CASE._replace(task=kind), 1.0, {})

    assert train() == train()
    file = data / ("train.json" if kind == "detection" else "train_labels/00003.png")
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"result.json was trained on other labels than are there now: give another"):
        train()


def test_a_run_is_one_commands(tmp_path, contender):
    these = runs(tmp_path, contender, Commands())
    with locked(these.place(CASE, 1.0) / "lock"), pytest.raises(Busy):
        these.train(CASE, 1.0, {})


def test_two_commands_share_a_folder(tmp_path, contender):
    """Each does what the other is not at, and both come to the same end."""
    cases = [CASE._replace(seed=seed) for seed in range(3)]
    commands, ends = Commands(), []

    def command():
        found, these = {}, runs(tmp_path, contender, commands)
        failed = work_through(cases, lambda case, place: found.update({case: these.finish(case, place)}), [{}], 0.01)
        ends.append((failed, found))

    threads = [threading.Thread(target=command) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ends[0] == ends[1] and not ends[0][0] and set(ends[0][1]) == set(cases)
    assert len(commands.trained) == len(set(commands.trained)) == 6  # four rates with seed 0, and one with each other


def test_modules_beside_both_configs_can_be_imported(tmp_path, ready, root, monkeypatch):
    own = tmp_path / "elsewhere/own.py"
    own.parent.mkdir()
    own.write_text(f"_base_ = ['{root}/configs/digit_scenes/mask-rcnn_vheat-n_fpn.py']\n")
    monkeypatch.setenv("PYTHONPATH", "before")
    entry = entry_of(None, protocols=["scratch"], config={"detection": own}, tasks=("detection",))
    commands, seen = Commands(), []

    def run(command, log, environment=None, name=""):
        seen.append(environment["PYTHONPATH"])
        return commands(command, log, environment, name)

    runs(tmp_path / "out", Contender(ready["detection"], entry), run).predict(CASE, 1.0, "test", {})
    task = ready["detection"].task.config.parent
    assert seen == [f"{task}:{own.parent}:before"] * 2
