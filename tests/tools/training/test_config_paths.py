"""Where relative paths of a config are looked for, and what is said of missing ones."""

from pathlib import Path

import pytest
from files.paths import ROOT
from mmengine.config import Config
from training.config_paths import expand_users, find_data, missing_files, move_data

REPOSITORY = ROOT / "configs" / "any.py"


def config(root="data/x/", **more):
    dataset = {"type": "D", "data_root": root, "ann_file": "a.json", "data_prefix": {"img": "img/"}}
    return Config(
        {
            "data_root": root,
            "data_help": "make it",
            "train_dataloader": {"dataset": {"type": "RepeatDataset", "dataset": dataset}},
            "val_dataloader": {"dataset": dataset},
            "val_evaluator": [{"type": "M", "ann_file": f"{root}a.json"}],
            "model": {"type": "data/x"},
            **more,
        }
    )


def places(config):
    wrapped = config.train_dataloader.dataset.dataset
    assert (wrapped.ann_file, wrapped.data_prefix.img) == ("a.json", "img/")  # they lie in data_root
    assert config.val_dataloader.dataset.data_root == wrapped.data_root == config.data_root
    assert config.val_evaluator[0].ann_file == f"{config.data_root}a.json"
    return config.data_root


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where the user is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_data_of_the_repositorys_configs_are_in_the_repository(here):
    (here / "data/x").mkdir(parents=True)
    found = config()
    find_data(found, REPOSITORY)
    assert places(found) == f"{ROOT}/data/x/"


def test_data_of_other_configs_are_where_the_user_is_or_else_in_the_repository(here, monkeypatch, capsys):
    monkeypatch.setattr("training.config_paths.ROOT", here / "repository")
    (here / "repository/data/x").mkdir(parents=True)
    found = config()
    find_data(found, here / "own.py")
    assert places(found) == f"{here}/repository/data/x/"
    assert capsys.readouterr().err == f"data_root data/x/ is not here: taking {here}/repository/data/x\n"
    (here / "data/x").mkdir(parents=True)
    found = config()
    find_data(found, here / "own.py")
    assert places(found) == f"{here}/data/x/" and not capsys.readouterr().err  # the same from anywhere else


def test_the_folder_of_the_user_is_no_part_of_other_texts(here):
    found = config("./", suffix=".jpg", other="./b.json", above="../c.json")
    find_data(found, here / "own.py")
    assert places(found) == f"{here}/"
    assert (found.suffix, found.other, found.above) == (".jpg", f"{here}/b.json", "../c.json")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_data_root_of_the_command_line_takes_the_place_of_the_configs(here, slash):
    found = config("data/x/", other="data/xy/b.json")
    move_data(found, f"mine{slash}")
    assert places(found) == f"{here}/mine/" and found.other == "data/xy/b.json"
    found = config("data/x")
    move_data(found, "/mine/")
    assert found.train_dataloader.dataset.dataset.data_root == "/mine"


@pytest.mark.parametrize("root", ["s3://bucket/x/", "/absolute/x/", ""])
def test_what_is_not_relative_stays(here, root):
    found = config(root)
    find_data(found, REPOSITORY)
    assert places(found) == root


def test_the_first_missing_part_is_named(here):
    def said(*phases, **more):
        return missing_files(config(**more), phases or ("train", "val"))

    assert said()[0] == f"data set not found: {here}/data/x (train_dataloader); make it"
    Path("data/x").mkdir(parents=True)
    assert said()[0] == f"data set not found: {here}/data/x/a.json (train_dataloader); make it"
    Path("data/x/a.json").touch()
    assert said()[0] == f"data set not found: {here}/data/x/img (train_dataloader); make it"
    Path("data/x/img").mkdir()
    assert said() == []
    evaluator = {"type": "M", "ann_file": "b.json"}
    assert said(val_evaluator=evaluator) == [
        f"annotations not found: {here}/b.json (val_evaluator.ann_file); make it",
    ]
    assert said("test", val_evaluator=evaluator) == []


def test_a_file_of_timms_is_there():
    options = {"pretrained": True, "pretrained_cfg_overlay": {"file": "~/w.pth"}}
    found = missing_files(config(model={"type": "M", "backbone": {"type": "TimmBackbone", "options": options}}), ())
    assert found == ["no such checkpoint: ~/w.pth (pretrained_cfg_overlay.file)"]


@pytest.mark.parametrize("place", ["load_from", "init_cfg.checkpoint"])
def test_a_missing_checkpoint_is_named(here, place):
    backbone = {"type": "B", "init_cfg": {"type": "Pretrained", "checkpoint": "w.pth"}}
    more = {"load_from": "w.pth"} if place == "load_from" else {"model": {"type": "X", "backbone": backbone}}
    assert missing_files(config(**more), ()) == [f"no such checkpoint: w.pth ({place})"]
    Path("w.pth").touch()
    assert missing_files(config(**more), ()) == []
    if place != "load_from":
        backbone["init_cfg"] = [dict(backbone["init_cfg"], checkpoint="v.pth")]
        assert missing_files(config(**more), ()) == [f"no such checkpoint: v.pth ({place})"]
        backbone["init_cfg"] = backbone["init_cfg"][0]
    backbone["init_cfg"]["checkpoint"] = "torchvision://resnet50"
    assert missing_files(config(model={"type": "X", "backbone": backbone}), ()) == []


def test_a_checkpoint_at_home(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    assert missing_files(config(load_from="~/w.pth"), ()) == ["no such checkpoint: ~/w.pth (load_from)"]
    (here / "w.pth").touch()
    assert missing_files(config(load_from="~/w.pth"), ()) == []


def test_a_tilde_behind_an_equals_sign(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_users({"a": "~/x", "b": ["~/y", 1], "c": "x~/y"}) == {
        **{"a": "/home/me/x", "b": ["/home/me/y", 1], "c": "x~/y"}
    }
