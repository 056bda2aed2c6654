"""check_dataset.py on images of several modalities, and on pairs."""

from __future__ import annotations

import json
import shutil
from argparse import ArgumentParser, Namespace

import numpy as np
import pytest
import tifffile
from checks.report import check_config
from mmengine.registry import init_default_scope
from training.openmmlab import load_config


@pytest.fixture
def scenes(rs_scenes, tmp_path):
    """A copy of the scenes that may be broken."""
    return shutil.copytree(rs_scenes, tmp_path / "scenes")


def report(root, scenes, name, *splits):
    options = {"cfg_options": {"data_root": str(scenes)}, "work_dir": None, "launcher": "none", "local_rank": 0}
    config = load_config(ArgumentParser(), Namespace(config=root / f"configs/rs_vheat/{name}.py", **options))
    init_default_scope(config.default_scope)
    return check_config(config, splits)


def write(path, bands):
    tifffile.imwrite(path, bands.astype(np.float32), photometric="minisblack", planarconfig="contig")


@pytest.mark.parametrize(
    "name",
    [
        "upernet_rs-vheat-n_rs-scenes",
        "upernet_rs-vheat-n_rs-scenes-sar",
        "upernet_siamese-rs-vheat-n_rs-scenes",
        "faster-rcnn_rs-vheat-n_fpn_rs-scenes",
    ],
)
def test_nothing_is_wrong_with_the_scenes(root, rs_scenes, name):
    found = report(root, rs_scenes, name, "train", "val", "test")
    assert [f for f in found.findings if f.kind != "class-empty"] == [] and found.not_checked == []
    assert found.images["train"] == 10


def test_tiles_that_are_missing_or_of_another_kind(root, scenes):
    sar = scenes / "val/sar"
    good = tifffile.imread(sar / "00000.tif")
    write(sar / "00000.tif", 10 ** (good / 10))
    write(sar / "00001.tif", np.full_like(good, np.nan))
    write(sar / "00002.tif", good[:64])
    (sar / "00003.tif").unlink()
    write(sar / "00004.tif", good[..., :1].repeat(3, -1) + np.arange(3))
    found = {f.kind: f for f in report(root, scenes, "upernet_rs-vheat-n_rs-scenes", "val").findings}
    assert found["bands-unfit"].count == 4 and found["partner-missing"].count == 1
    power, nothing, size = found["bands-unfit"].examples
    assert "sar/00000.tif: band 'VV' of modality 'sar'" in power and "is this linear power?" in power
    assert "sar/00001.tif: band 'VV'" in nothing and "no finite number" in nothing
    assert "optical/00002.tif is 128 x 128" in size and "sar/00002.tif is 64 x 128" in size
    assert "00003.tif needs one partner of modality 'sar'" in found["partner-missing"].examples[0]


def test_pairs_and_annotated_sizes(root, scenes):
    (scenes / "val_changes/optical_after/00001.tif").unlink()
    record = json.loads((scenes / "val.json").read_text())
    record["images"][2]["width"] = 64
    (scenes / "val.json").write_text(json.dumps(record))
    (missing,) = report(root, scenes, "upernet_siamese-rs-vheat-n_rs-scenes", "val").findings
    assert (
        missing.kind == "partner-missing" and "optical_after/00001.tif is not there, of the pair" in missing.examples[0]
    )
    found = report(root, scenes, "faster-rcnn_rs-vheat-n_fpn_rs-scenes", "val").findings
    (differs,) = [f for f in found if f.kind == "size-differs"]
    assert differs.examples[0].endswith("optical/00002.tif: 64 x 128 annotated, 128 x 128 loaded")
