"""Every way to a network's file takes ``~`` and says of a web address that files are local."""

from __future__ import annotations

import pytest
import timm
import torch
from mmengine.registry import MODELS

import backbones.openmmlab  # noqa: F401
from backbones import load_checkpoint

NANO = {"img_size": 64, "num_classes": 3}


def by_load_checkpoint(path):
    net = timm.create_model("vheat_nano", **NANO)
    load_checkpoint(net, path)
    return net


def by_overlay(path):
    return timm.create_model("vheat_nano", pretrained=True, pretrained_cfg_overlay={"file": path}, **NANO)


def by_init_cfg(path):
    net = MODELS.build(
        {"type": "VHeat", "arch": "nano", "img_size": 64, "init_cfg": {"type": "Pretrained", "checkpoint": path}}
    )
    net.init_weights()
    return net


@pytest.mark.parametrize("load", [by_load_checkpoint, by_overlay, by_init_cfg])
def test_home_and_web_addresses(load, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    source = timm.create_model("vheat_nano", **NANO)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    assert torch.equal(load("~/w.pth").stem.conv1.weight, source.stem.conv1.weight)
    with pytest.raises(ValueError, match=r"download https://example.org/w.pth and give its path"):
        load("https://example.org/w.pth")
