"""tools/predict.py on images of several modalities: a folder for each."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import tifffile
import torch
from in_process import run
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from prediction.bands import Bands
from prediction.models import image_pipeline

from backbones.remote_sensing import OPTICAL, SAR


@pytest.fixture
def predicted(root, rs_scenes, tmp_path):
    """Predicts with random weights: what the command ends with, and the folder that it writes."""

    def make(name, folder):
        file = root / f"configs/rs_vheat/{name}.py"
        config = Config.fromfile(file)
        init_default_scope(config.default_scope)
        torch.manual_seed(0)
        torch.save({"state_dict": MODELS.build(config.model).state_dict()}, tmp_path / "x.pth")
        given = ["--config", file, "--checkpoint", tmp_path / "x.pth", "--out", tmp_path / "out"]
        return run("predict.py", rs_scenes / folder, *given), tmp_path / "out"

    return make


@pytest.mark.filterwarnings("ignore")  # of the frameworks
@pytest.mark.parametrize(("suffix", "folder"), [("", "val/optical"), ("-sar", "val/sar")])
def test_labels_of_scenes(predicted, rs_scenes, suffix, folder):
    code, out = predicted(f"upernet_rs-vheat-n_rs-scenes{suffix}", folder)
    assert code == 0 and len(json.loads((out / "predictions.json").read_text())["images"]) == 5
    labels = cv2.imread(str(out / "labels/00003.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (128, 128) and labels.max() < 7
    assert cv2.imread(str(out / "pictures/00003.jpg")).std() > 5


@pytest.mark.filterwarnings("ignore")
def test_boxes_of_scenes_and_a_tile_that_is_broken(predicted, rs_scenes, tmp_path, capsys, root):
    code, out = predicted("faster-rcnn_rs-vheat-n_fpn_rs-scenes", "val/optical_cloudy/00001.tif")
    assert code == 0 and (out / "pictures/00001.jpg").is_file()
    (tmp_path / "a/optical").mkdir(parents=True)
    (tmp_path / "a/optical/1.tif").write_bytes((rs_scenes / "val/optical/00001.tif").read_bytes())
    code, _ = predicted("upernet_rs-vheat-n_rs-scenes", tmp_path / "a/optical")
    assert code != 0


def test_a_config_of_pairs_is_refused(root):
    config = Config.fromfile(root / "configs/rs_vheat/upernet_siamese-rs-vheat-n_rs-scenes.py")
    with pytest.raises(ValueError, match="the config is for pairs"):
        image_pipeline(config)


def test_pictures_of_bands(rs_scenes):
    file = rs_scenes / "val/optical/00000.tif"
    optical = tifffile.imread(file)
    radar = np.linspace(-25, 0, optical[..., :1].size, dtype=np.float32).reshape(*optical.shape[:2], 1)
    packed = np.concatenate([optical.astype(np.float32), radar], -1)
    bands = Bands([OPTICAL, SAR])
    assert bands.count == 4 and np.array_equal(bands.picture(packed), optical[..., ::-1])
    grey = Bands([SAR]).picture(radar)
    assert grey.shape == optical.shape and grey[0, 0, 0] == 0 and grey[-1, -1, 0] == 255
    assert (np.diff(grey[..., 0].ravel().astype(int)) >= 0).all()
