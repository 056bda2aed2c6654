"""Which images train, choose and test."""

import json
import shutil
from pathlib import Path

import pytest
from evaluation.config_files import read_config
from evaluation.tasks import ReadyTask
from mmengine.registry import init_default_scope
from small_tasks import NANO, task_of

TASKS = ["detection", "segmentation"]


def names(ready, settings):
    data = ready.opened(settings)
    return [
        Path(data.get_data_info(i)["img_path"]).relative_to(ready.settings("train")["data_root"]).as_posix()
        for i in range(len(data))
    ]


def training(ready, share, seed):
    return names(ready, {**ready.settings("train"), **ready.train_settings(share, seed)})


def choosing(ready):
    loader, changed = ready.choose_settings()
    return names(ready, {**ready.settings(loader), **changed})


@pytest.mark.parametrize("task", TASKS)
def test_images_that_train_choose_and_are_tested_are_apart(task, ready):
    trains, chooses = training(ready[task], 1.0, 0), choosing(ready[task])
    assert len(trains) == 9 and len(chooses) == 3 and not {*trains} & {*chooses}
    assert all(name.startswith("train/") for name in (*trains, *chooses))
    assert [n.split("/")[0] for n in names(ready[task], ready[task].settings("test"))] == ["val"] * 6


def test_both_frameworks_are_checked_beside_each_other(ready):
    for kind in ("detection", "segmentation", "detection"):  # each in the scope that the other left
        ready[kind].check_data(chooses=True, shares=[0.5])
    for kind, other in (("detection", "mmseg"), ("segmentation", "mmdet")):
        settings = {**ready[kind].settings("train"), **ready[kind].train_settings(0.5, 0)}
        init_default_scope(other)  # while all that is known of the images is kept
        assert len(ready[kind].annotations(settings)) == 64
        init_default_scope(other)
        assert len(ready[kind].opened(settings)) == 4


def test_both_frameworks_hold_out_the_same_images(ready):
    assert choosing(ready["detection"]) == choosing(ready["segmentation"])


@pytest.mark.parametrize("task", TASKS)
def test_shares_are_drawn_by_the_seed_and_written_down(task, ready):
    third = training(ready[task], 1 / 3, 0)
    assert len(third) == 3 and {*third} < {*training(ready[task], 1.0, 0)}
    assert training(ready[task], 1 / 3, 0) == third != training(ready[task], 1 / 3, 1)
    assert {*training(ready[task], 2 / 3, 0)} > {*third}  # more labels are more of the same
    assert len(training(ready[task], 0.001, 0)) == 1
    written = Path(ready[task].train_settings(1 / 3, 0)["ann_file"])
    assert written.parent == ready[task].folder / "splits" / task
    if task == "detection":
        coco = json.loads(written.read_text())
        assert len(coco["images"]) == 3 and len(coco["categories"]) == 10
        assert {a["image_id"] for a in coco["annotations"]} == {image["id"] for image in coco["images"]}
    else:
        assert [f"train/{line}.png" for line in written.read_text().split()] == third


def test_truth_of_the_images_that_choose_is_a_file_of_theirs(ready):
    """COCO's metrics count what is missed in all images of the file."""
    loader, changed = ready["detection"].choose_settings()
    assert loader == "test" and len(json.loads(Path(changed["ann_file"]).read_text())["images"]) == 3


@pytest.fixture
def make(write, digit_scenes, tmp_path):
    def make(kind, **changed):
        options = changed.pop("cfg_options", {})
        task = task_of(kind, digit_scenes, **changed)
        task["cfg_options"] |= options
        study = write(tasks={kind: task}, entries={"a": {"backbone": NANO}}, protocols=["scratch"])
        return ReadyTask(study.tasks[kind], tmp_path)

    return make


def test_a_configs_own_indices_hold(make):
    ready = make("detection", choose=1, cfg_options={"train_dataloader.dataset.indices": 4})
    every = sorted(training(ready, 1.0, 0) + choosing(ready))
    assert every == [f"train/0000{i}.png" for i in range(4)]


def test_without_choosing_nothing_is_held_out(make):
    ready = make("segmentation")
    assert ready.train_settings(1.0, 0) == {} and len(training(ready, 1.0, 0)) == 12
    with pytest.raises(ValueError, match=r"tasks\.segmentation\.choose is missing: learning rates are searched"):
        ready.check_data(True, [1.0])


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("segmentation", {"choose": "val"}, "choose: the images of val_dataloader are those that are tested"),
        ("segmentation", {"choose": 12}, "choose: 12 of 12 training images leave none"),
        ("segmentation", {"metric": "box AP"}, "metric: box AP is no metric of segmentation"),
        (
            "detection",
            {"cfg_options": {"train_dataloder.batch_size": 2}},
            "batch_size; did you mean",
        ),
        ("detection", {"cfg_options": {"train_dataloader.dataset.data_root": "none/"}}, "data set not found: .*none"),
        ("detection", {"cfg_options": {"default_scope": "mmengine"}}, "default_scope must be one of mmdet, mmseg, got"),
    ],
)
def test_what_does_not_fit_is_said(kind, changed, message, make):
    with pytest.raises(ValueError, match=rf"tasks\.{kind}[.:].*{message}"):
        make(kind, **changed).check_data(True, [1.0])


def test_nothing_is_chosen_by_what_is_tested(make, digit_scenes):
    same = f"{digit_scenes}/../{digit_scenes.name}/"  # by another path
    ready = make("detection", choose="val", cfg_options={"val_dataloader.dataset.data_root": same})
    with pytest.raises(ValueError, match=r"choose: the images of val_dataloader are those that are tested"):
        ready.check_data(True, [1.0])
    prefix = "test_dataloader.dataset.data_prefix"
    options = {f"{prefix}.img_path": "train", f"{prefix}.seg_map_path": "train_labels"}
    with pytest.raises(ValueError, match=r"choose: the images of train_dataloader are those that are tested"):
        make("segmentation", choose=3, cfg_options=options).check_data(True, [1.0])


def test_classes_are_in_the_order_of_the_file(make):
    """mmdet numbers labels in that order, and names them in that of the config."""
    ready = make("detection", cfg_options={"test_dataloader.dataset.metainfo.classes": tuple("1023456789")})
    with pytest.raises(ValueError, match=r"classes are 1, 0, 2, .* in the config and 0, 1, 2, .*\.json; mmdet needs"):
        ready.check_data(False, [1.0])


def test_images_of_one_name_are_refused(make, digit_scenes, tmp_path):
    for folder in ("a", "b"):
        for kind in ("val", "val_labels"):
            target = tmp_path / kind / folder / "1.png"
            target.parent.mkdir(parents=True)
            target.symlink_to(digit_scenes / kind / "00000.png")
    ready = make("segmentation", cfg_options={"test_dataloader.dataset.data_root": f"{tmp_path}/"})
    with pytest.raises(ValueError, match="two images that are tested are called 1"):
        ready.check_data(False, [1.0])
    options = {"data_root": f"{tmp_path}/", "data_prefix": {"img_path": "val", "seg_map_path": "val_labels"}}
    ready = make("segmentation", choose="val", cfg_options={"val_dataloader.dataset": options})
    with pytest.raises(ValueError, match="two images that choose are called 1"):
        ready.check_data(True, [1.0])


@pytest.mark.parametrize("kind", TASKS)
def test_what_is_tested_must_be_there_before_anything_is_trained(kind, make, digit_scenes, tmp_path):
    shutil.copytree(digit_scenes, tmp_path / "data")
    options = {"test_dataloader.dataset.data_root": f"{tmp_path}/data/"}
    lost = "val_labels/00001.png" if kind == "segmentation" else "val/00001.png"
    (tmp_path / "data" / lost).unlink()
    with pytest.raises(ValueError, match=rf"{lost} is missing, of what images that are tested need"):
        make(kind, cfg_options=options).check_data(False, [1.0])


def test_classes_must_have_names(make):
    ready = make("segmentation", cfg_options={"test_dataloader.dataset.metainfo": {}})
    ready.settings("test")["metainfo"] = {}
    with pytest.raises(ValueError, match=r"tasks\.segmentation: test_dataloader\.dataset\.metainfo names no classes"):
        assert ready.classes


def test_configs_that_cannot_be_written_down_are_refused(tmp_path):
    path = tmp_path / "c.py"
    path.write_text("import math\nvalue = dict(f=math.sqrt)\n")
    with pytest.raises(ValueError, match=r"c\.py: value holds more than texts, numbers, lists and mappings"):
        read_config(path, {})


@pytest.mark.parametrize("task", TASKS)
def test_the_truth_has_a_hash_of_its_bytes(task, ready, digit_scenes, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(digit_scenes, copy)
    settings = {**ready[task].settings("test"), "data_root": f"{copy}/"}
    assert ready[task].annotations(settings) == ready[task].annotations(dict(ready[task].settings("test")))
    file = copy / ("val.json" if task == "detection" else "val_labels/00003.png")
    file.write_bytes(file.read_bytes() + b" ")
    assert ready[task].annotations(settings) != ready[task].annotations(dict(ready[task].settings("test")))


@pytest.mark.parametrize("task", TASKS)
def test_data_that_are_not_there_are_of_a_task(task, write, digit_scenes, tmp_path):
    changed = task_of(task, digit_scenes)
    changed["cfg_options"]["test_dataloader.dataset.data_root"] = "not/there/"
    study = write(tasks={task: changed}, entries={"e": {"backbone": NANO}}, protocols=["scratch"])
    with pytest.raises(ValueError, match=rf"tasks\.{task}: .*not/there"):
        assert ReadyTask(study.tasks[task], tmp_path).tested
