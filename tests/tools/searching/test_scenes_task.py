"""The search on digit scenes: its split, its configs, and a training that is cut off, goes on, and is tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import timm
import torch
from forked import run
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from searching import networks, scenes
from searching.task import open_task

from backbones.search import MA2MLSampler, network_macs


def _config(values: Any, folder: Path, iterations: int = 80) -> Config:
    scenes.command(values, folder, 0, iterations)
    return Config.fromfile(folder / "config.py")


def test_trials_see_training_scenes_alone_and_choose_by_others_of_them(tmp_path: Path, digit_scenes: Path) -> None:
    config = _config(scenes.DEFAULT, tmp_path)
    init_default_scope(config.default_scope)
    split = dict(img_path="train", seg_map_path="train_labels")
    assert all(config[f"{name}_dataloader"].dataset.data_prefix == split for name in ("train", "val", "test"))
    assert "data_prefix=dict(img_path='val'" not in config.pretty_text.replace(" ", "")
    assert not any("val" in word for word in scenes.command(scenes.DEFAULT, tmp_path, 0, 80))
    from mmseg.datasets import BaseSegDataset

    seen = []
    for name, count in (("train", 8), ("val", -4)):
        settings = {**config[f"{name}_dataloader"].dataset, "data_root": str(digit_scenes)}
        assert settings.pop("type") == "BaseSegDataset" and settings["indices"] in (400, -100)
        dataset = BaseSegDataset(**{**settings, "indices": count})
        seen.append({dataset.get_data_info(i)["img_path"] for i in range(len(dataset))})
    assert [len(of) for of in seen] == [8, 4] and not seen[0] & seen[1]


@pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``:UserWarning")  # mmseg's own base leaves it open
def test_what_is_chosen_is_what_is_built(tmp_path: Path) -> None:
    study = optuna.create_study(sampler=MA2MLSampler(scenes.SPACE, 0))
    for _ in range(3):
        values = scenes.SPACE.suggest(study.ask())
        aug, backbone, recipe = (values[name] for name in ("aug", "backbone", "recipe"))
        config = _config(values, tmp_path)
        init_default_scope(config.default_scope)
        model = MODELS.build(config.model)
        kwargs = {**networks.model_options(backbone), "img_size": scenes.SIZE, "num_classes": 0}
        net = timm.create_model("vheat_nano", **kwargs, device="meta")
        assert network_macs(net, scenes.SIZE) == scenes.macs(backbone) <= scenes.MOST_MACS
        mixers = [[type(block.mixer.operator) for block in stage.blocks] for stage in model.backbone.stages]
        assert mixers == [[type(block.mixer.operator) for block in stage.blocks] for stage in net.stages]
        assert config.optim_wrapper.optimizer.lr == recipe["lr"] and config.train_cfg.val_interval == 10
        assert config.model.decode_head.loss_decode.class_weight == [recipe["background"]] + [1.0] * 10
        kinds = {step.type: step for step in config.train_dataloader.dataset.pipeline}
        assert kinds["RandomCrop"].crop_size == (aug["crop"],) * 2 == config.model.data_preprocessor.size
        assert kinds["RandomFlip"].prob == aug["flip"] and ("PhotoMetricDistortion" in kinds) == aug["photometric"]
        assert config.param_scheduler[0].end == max(1, round(80 * recipe["warmup"]))
        exported = scenes.export(values, 3, 80)
        assert exported["OpenMMLab"] == (tmp_path / "config.py").read_text()
        features = eval(exported["timm"], {"timm": timm})
        assert features.feature_info.channels() == config.model.decode_head.in_channels


def test_the_default_is_what_the_config_trains(tmp_path: Path) -> None:
    found, base = _config(scenes.DEFAULT, tmp_path, scenes.ITERATIONS), Config.fromfile(scenes.CONFIG)
    assert found.param_scheduler == base.param_scheduler and found.train_cfg == base.train_cfg
    assert found.optim_wrapper == base.optim_wrapper
    init_default_scope(found.default_scope)
    assert str(MODELS.build(found.model.backbone)) == str(MODELS.build(base.model.backbone))


def test_names() -> None:
    assert open_task("scenes:100").measure == "mIoU" and open_task("digits").measure == "top1"
    for bad in ("scenes:", "scenes:0", "scene"):
        with pytest.raises(ValueError, match=r"--task must be 'digits', 'scenes', 'scenes:UPDATES'"):
            open_task(bad)


def test_a_training_that_was_cut_off_goes_on_and_is_tested(
    tmp_path: Path, digit_scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "FOLDER", digit_scenes)
    nas = {**scenes.DEFAULT["backbone"], "width": 8, "depth": 1}
    values = {**scenes.DEFAULT, "backbone": nas, "aug": {**scenes.DEFAULT["aug"], "crop": 64}}

    def train() -> None:
        few = ["train_dataloader.dataset.indices=8", "val_dataloader.dataset.indices=-4"]
        done = run([*scenes.command(values, tmp_path / "trial", 0, 4), *few], tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]

    train()
    before = scenes.scores(tmp_path / "trial")
    assert len(before) == 4 and all(0 <= score <= 100 for score in before)
    weights = torch.load(tmp_path / "trial" / "iter_4.pth", weights_only=False)["state_dict"]
    (tmp_path / "trial" / "iter_4.pth").unlink()
    train()  # the fourth update alone
    assert len(list(tmp_path.glob("trial/*/vis_data/scalars.json"))) == 2
    assert scenes.scores(tmp_path / "trial") == before
    again = torch.load(tmp_path / "trial" / "iter_4.pth", weights_only=False)["state_dict"]
    assert all(torch.equal(again[name], value) for name, value in weights.items())

    done = run(scenes.test(tmp_path / "trial"), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert 0 <= found["mIoU"] <= 100
    (resolved,) = tmp_path.glob("trial/test/*/vis_data/config.py")
    tested = Config.fromfile(resolved).test_dataloader.dataset
    assert tested.data_prefix.img_path == "val" and tested.indices is None and tested.data_root == f"{digit_scenes}/"
