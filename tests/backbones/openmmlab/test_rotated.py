"""Oriented boxes by mmrotate, the extra "rotated": run where it is installed."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest
import torch
from in_process import own_readers
from training.openmmlab import build_runner, load_config

pytest.importorskip("mmrotate")

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

FOLDER = Path(__file__).resolve().parents[3] / "configs/rs_vheat/rotated"
CONFIGS = sorted(path.name for path in FOLDER.glob("*.py"))
pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks


@pytest.mark.parametrize("name", CONFIGS)
def test_config_builds_and_says_what_it_is(name):
    head = (FOLDER / name).read_text()[:600]
    assert head.startswith("# ") and ("minutes" if "rs-scenes" in name else "Published") in head
    config = Config.fromfile(FOLDER / name)
    assert config.runner_type == "SafeRunner" and config.data_help and config.default_scope == "mmrotate"
    init_default_scope("mmrotate")
    model = MODELS.build(config.model).eval()
    classes = config.get("metainfo", {}).get("classes") or range(15)
    assert (
        model.roi_head.bbox_head.num_classes
        == len(classes)
        == {"dota": 15, "fair1m": 37, "rs-scenes": 2}[
            next(part for part in ("dota", "fair1m", "rs-scenes") if part in name)
        ]
    )
    with torch.no_grad():
        features = model.extract_feat(torch.zeros(1, model.backbone.in_chans, 64, 96))
    assert len(features) >= 4 and all(f.isfinite().all() for f in features)


def test_oriented_boxes_of_ships_are_learned_from_and_tested(rs_scenes, tmp_path, monkeypatch):
    options = {"data_root": str(rs_scenes), "train_cfg.max_iters": 1, "train_cfg.val_interval": 9}
    options |= {"train_dataloader.batch_size": 2}
    options["model.test_cfg.rpn.max_per_img"] = 20
    given = {"cfg_options": options, "work_dir": tmp_path / "work", "launcher": "none", "local_rank": 0}
    config = FOLDER / "oriented-rcnn_rs-vheat-n_fpn_rs-scenes-le90.py"
    with own_readers() as patch:
        patch.setenv("LOCAL_RANK", "0")
        args = Namespace(config=config, **given)
        runner = build_runner(load_config(ArgumentParser(), args, "train", "val", "test"))
        sample = runner.build_dataloader(runner.cfg.test_dataloader).dataset[0]
        truth = sample["data_samples"].gt_instances.bboxes
        assert sample["inputs"].shape == (5, 128, 128) and truth.tensor.shape[1] == 5
        runner.train()
        found = runner.test()
    assert 0 <= found["dota/mAP"] <= 1 and (tmp_path / "work/iter_1.pth").is_file()
