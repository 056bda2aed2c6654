"""tools/train_classifier.py on folders of modalities and classes."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import tifffile
import torch
import train_classifier as tool
from mmengine.config import Config
from training.classification import class_numbers, make_loader, open_folder
from training.recipe import parse_arguments

from backbones.remote_sensing import ModalityFolder, read_modality, specs_in

PLAIN = ["--auto-augment", "", "--color-jitter", "0", "--mixup", "0", "--cutmix", "0", "--drop-path", "0"]
PLAIN += ["--re-prob", "0", "--warmup-epochs", "0", "--workers", "0", "--img-size", "64", "--batch-size", "5"]


@pytest.fixture
def command(root, rs_scenes, tmp_path):
    """The arguments of a short training on the synthetic scenes."""
    specs = root / "configs/rs_vheat/modalities_rs-scenes.json"
    data = ["--data-dir", str(rs_scenes / "classes"), "--out", str(tmp_path / "out")]
    return [*data, "--model", "rs_vheat_nano", "--modalities", str(specs), *PLAIN, "--epochs", "1"]


def test_the_specs_are_those_of_the_configs(root):
    config = Config.fromfile(root / "configs/rs_vheat/upernet_rs-vheat-n_rs-scenes.py")
    for file, names in (("rs-scenes", ("optical", "sar")), ("optical", ("optical",))):
        specs = json.loads((root / f"configs/rs_vheat/modalities_{file}.json").read_text())
        assert specs == [{"clip": None, **config[name].to_dict()} for name in names]


def test_a_training_goes_on_and_is_measured(command, tmp_path, capsys):
    (first,) = tool.main(command)
    content = torch.load(tmp_path / "out/last.pth", weights_only=False)
    assert [spec.name for spec in specs_in(content["model"])] == ["optical", "sar"]
    again = tool.main([*command, "--epochs", "2", "--resume"])
    assert again[0]["train_loss"] == first["train_loss"] and len(again) == 2
    (found,) = tool.main([*command[:2], "--evaluate", str(tmp_path / "out/best.pth"), "--workers", "0"])
    assert found["top1"] == max(row["top1"] for row in again)


def test_values_reach_the_network_in_their_units(command, rs_scenes):
    args = parse_arguments([*command, "--crop-pct", "1", "--img-size", "128"], "")
    args.distributed, args.rank, args.world_size = False, 0, 1
    dataset = open_folder(args, "val")
    assert list(class_numbers(dataset)) == ["airfield", "coast", "farmland", "town", "woodland"]
    images, labels = next(iter(make_loader(args, dataset, torch.nn.Identity(), False)))
    assert labels.tolist() == [0, 1, 2, 3, 4] and images.shape == (5, 5, 128, 128)
    sar = dataset.modalities[1]
    (file,) = (rs_scenes / "classes/val/sar/coast").iterdir()
    assert np.allclose(images[1, 3:], read_modality(file, sar), atol=1e-5)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # timm leaves it to the garbage collector
def test_a_plain_folder_of_pictures_keeps_timms_augmentation(root, rs_scenes, tmp_path):
    for file in (rs_scenes / "classes").glob("*/optical/*/*.tif"):
        split, _, name = file.parts[-4:-1]
        (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / split / name / f"{file.stem}.png"), tifffile.imread(file)[..., ::-1])
    specs = ["--modalities", str(root / "configs/rs_vheat/modalities_optical.json"), "--model", "rs_vheat_nano"]
    command = ["--data-dir", str(tmp_path), "--out", str(tmp_path / "out"), *specs, *PLAIN, "--epochs", "1"]
    (found,) = tool.main([*command, "--auto-augment", "rand-m9-mstd0.5-inc1", "--re-prob", "0.2"])
    assert np.isfinite(found["loss"])


def test_bad_input(command, rs_scenes, tmp_path, capsys):
    for option, value in (("--auto-augment", "rand-m9-mstd0.5-inc1"), ("--re-prob", "0.2")):
        with pytest.raises(SystemExit, match=f"{option} is for pictures of three bytes"):
            tool.main([*command, option, value])
    (tmp_path / "x.json").write_text('[{"name": "sar"}]')
    with pytest.raises(SystemExit):
        parse_arguments([*command, "--modalities", str(tmp_path / "x.json")], "")
    assert "no list of modalities: a modality must be" in capsys.readouterr().err
    shutil.copytree(rs_scenes / "classes", tmp_path / "classes")
    next((tmp_path / "classes/val/sar/town").iterdir()).unlink()
    with pytest.raises(SystemExit, match="1 of 5 places lack a partner"):
        tool.main(["--data-dir", str(tmp_path / "classes"), *command[2:]])


def test_a_file_of_no_class(tmp_path, rs_scenes):
    specs = [{"name": "optical", "bands": ["R", "G", "B"], "unit": "uint8", "mean": 1.0, "std": 1.0}]
    with pytest.raises(ValueError, match=r"0000\d\.tif is in no folder of a class"):
        ModalityFolder(rs_scenes / "val", specs)
