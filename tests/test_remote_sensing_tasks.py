"""The tasks of remote sensing by their configs: trained and tested on tiny synthetic scenes."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace

import numpy as np
import pytest
import tifffile
import torch
from in_process import own_readers
from mmengine.config import Config
from PIL import Image
from training.openmmlab import build_runner, load_config
from training.testing import augment, draw

#: Metrics of the test, by config.
TASKS = {
    "upernet_rs-vheat-n_rs-scenes": {"clear/mIoU", "cloudy/mIoU"},
    "upernet_rs-vheat-n_rs-scenes-optical": {"clear/mIoU", "cloudy/mIoU"},
    "upernet_rs-vheat-n_rs-scenes-sar": {"mIoU"},
    "upernet_siamese-rs-vheat-n_rs-scenes": {"change/F1", "change/IoU"},
    "faster-rcnn_rs-vheat-n_fpn_rs-scenes": {"coco/bbox_mAP_50"},
}
FEW = {"train_cfg.max_iters": 2, "train_cfg.val_interval": 9, "train_dataloader.batch_size": 2}


@pytest.fixture
def runner(root, rs_scenes, tmp_path):
    """Makes the runner of a config."""
    with own_readers() as patch:
        patch.setenv("LOCAL_RANK", "0")

        def make(name, **options):
            given = {"cfg_options": {"data_root": str(rs_scenes), **FEW, **options}, "work_dir": tmp_path / "work"}
            args = Namespace(config=root / f"configs/rs_vheat/{name}.py", **given, launcher="none", local_rank=0)
            return build_runner(load_config(ArgumentParser(), args, "train", "val", "test"))

        yield make


@pytest.mark.filterwarnings("ignore")  # of the frameworks
@pytest.mark.parametrize(("name", "metrics"), TASKS.items())
def test_a_task_trains_and_is_tested(runner, name, metrics, tmp_path):
    run = runner(name)
    before = {key: value.clone() for key, value in run.model.backbone.state_dict().items()}
    run.train()
    changed = {key for key, value in run.model.backbone.state_dict().items() if not torch.equal(value, before[key])}
    modalities = {key.split("stem.")[1].split(".")[0] for key in changed if "stem." in key}
    assert modalities == {name.rpartition("-")[2]} & {"optical", "sar"} or modalities == {"optical", "sar"}
    found = run.test()
    assert metrics <= set(found) and all(0 <= found[metric] <= 100 for metric in metrics)
    assert (tmp_path / "work/iter_2.pth").is_file()


@pytest.mark.parametrize("name", TASKS)
def test_what_cannot_be_drawn_on_is_said_before_the_test(name, root, tmp_path):
    config = Config.fromfile(root / f"configs/rs_vheat/{name}.py")
    if name.endswith("-sar"):
        with pytest.raises(ValueError, match=r"the images are 'sar' in dB: tools/predict\.py draws"):
            draw(config, tmp_path, None)
    else:
        draw(config, tmp_path, None)
        assert config.default_hooks.visualization.draw


@pytest.mark.filterwarnings("ignore")
def test_both_test_sets_are_augmented(runner):
    plain = runner("upernet_rs-vheat-n_rs-scenes")
    config = plain.cfg.copy()
    augment(config)
    config.model.module.test_cfg = {"mode": "whole"}
    several = build_runner(config)
    several.model.module.load_state_dict(plain.model.state_dict())
    one, other = plain.test(), several.test()
    assert one.keys() == other.keys() and one != other


@pytest.mark.filterwarnings("ignore")
def test_a_network_of_both_modalities_is_tested_with_one(runner):
    both = runner("upernet_rs-vheat-n_rs-scenes")
    optical = both.cfg.optical.to_dict()
    step = {"type": "LoadModalities", "modalities": [optical], "folders": None}
    options = {f"test_dataloader.dataset.datasets.{i}.pipeline.0": step for i in range(2)}
    one = runner("upernet_rs-vheat-n_rs-scenes", **options, **{"model.backbone.inputs": ["optical"]})
    one.model.load_state_dict(both.model.state_dict())
    assert set(one.model.backbone.stem) == {"optical", "sar"}
    assert {"clear/mIoU", "cloudy/mIoU"} <= set(one.test())


@pytest.fixture
def tiles(tmp_path):
    """Files of 12 bands without names, radar, and maps of three classes."""
    noise = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("optical", "sar", "labels"):
            (tmp_path / "tiles" / split / kind).mkdir(parents=True)
        for i in range(3):
            folder = tmp_path / "tiles" / split
            parts = {"optical": noise.integers(1, 4000, (12, 200, 208), np.uint16)}
            parts["sar"] = noise.normal(-14, 4, (2, 200, 208)).astype(np.float32)
            for name, part in parts.items():
                options = {"planarconfig": "separate", "photometric": "minisblack"}
                tifffile.imwrite(folder / name / f"{i}.tif", part, **options)
            Image.fromarray(noise.integers(0, 3, (200, 208), np.uint8)).save(folder / f"labels/{i}.png")
    return tmp_path / "tiles"


@pytest.mark.filterwarnings("ignore")  # of the frameworks
def test_the_configs_of_tiles_of_ones_own_as_documented(root, tiles, tmp_path, monkeypatch):
    text = (root / "docs/remote-sensing-tasks.md").read_text().split("## Tiles of your own")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.setenv("LOCAL_RANK", "0")
    options = {**FEW, "train_cfg.val_interval": 2}
    pretrained = {"model.backbone.init_cfg.type": "Pretrained"}
    pretrained["model.backbone.init_cfg.checkpoint"] = str(tmp_path / "pretraining" / "pretrained.safetensors")
    every = {"pretraining": {"data_root": str(tiles / "train")}, "segmentor": pretrained}
    for (name, more), block in zip(every.items(), blocks, strict=True):
        config = tmp_path / f"{name}.py"
        block = block.replace('_base_ = "', f'_base_ = "{root}/configs/rs_vheat/').replace("data/tiles", str(tiles))
        config.write_text(block)
        with own_readers():
            args = Namespace(config=config, cfg_options={**options, **more}, work_dir=tmp_path / name)
            args.launcher, args.local_rank = "none", 0
            splits = ("train", "val") + (("test",) if name == "segmentor" else ())
            runner = build_runner(load_config(ArgumentParser(), args, *splits))
            runner.train()
            if name == "segmentor":
                assert "mIoU" in runner.test()
    assert [spec.bands for spec in runner.model.backbone.modalities] == [("B4", "B3", "B2"), ("VV", "VH")]
