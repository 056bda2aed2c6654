"""The published file: what is in it, and its ways into networks that are not OpenMMLab's."""

from __future__ import annotations

import hashlib
import json

import convert_checkpoint as tool
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from backbones import load_checkpoint
from backbones.pretraining import publish
from backbones.weights.reading import read_metadata

ARCH = {"dims": (8, 12, 16, 20), "depths": (1, 1, 2, 1), "init_std": None}
IMAGE = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(make_model):
    model = make_model(target_generator={"pixels": 1.0, "features": 1.0})
    with torch.no_grad():
        for norm in model.head.norms.values():
            norm.weight.copy_(torch.rand_like(norm.weight))
            norm.bias.copy_(torch.rand_like(norm.bias))
    return model.eval()


@pytest.fixture
def path(model, tmp_path):
    publish(model, tmp_path / "pretrained.safetensors", source="digit scenes, 10 epochs")
    return tmp_path / "pretrained.safetensors"


def test_what_is_in_it(model, path):
    found = load_file(path)
    assert {name.partition(".")[0] for name in found} == {"backbone", "neck"}
    backbone = {n for n in model.backbone.state_dict() if not n.startswith("norm.")}
    norms = {f"out_norms.{i}.{n}" for i in range(4) for n in ("weight", "bias")}
    assert {n[9:] for n in found if n.startswith("backbone.")} == backbone | norms
    assert {n[5:] for n in found if n.startswith("neck.")} == set(model.neck.state_dict())
    for name in backbone:
        assert torch.equal(found[f"backbone.{name}"], model.backbone.state_dict()[name])
    assert torch.equal(found["backbone.out_norms.2.bias"], model.head.norms["2"].bias)
    digest = (path.parent / "pretrained.safetensors.sha256").read_text()
    assert digest == f"{hashlib.sha256(path.read_bytes()).hexdigest()}  pretrained.safetensors\n"


def test_metadata(model, path, make_neck, tmp_path):
    with safe_open(path, framework="pt") as file:
        found = file.metadata()
    assert found == read_metadata(path)
    assert found["network"] == "a vheat of widths (8, 12, 16, 20) and depths (1, 1, 2, 1)"
    assert found["family"] == "vheat" and "arch" not in found
    assert found["source"] == "digit scenes, 10 epochs" and found["neck"] == "FPN" and found["format"] == "pt"
    read = {
        name: json.loads(found[name]) for name in ("dims", "depths", "img_size", "unit", "ratio", "targets", "steps")
    }
    assert read == {
        "dims": [8, 12, 16, 20], "depths": [1, 1, 2, 1], "img_size": [64, 64], "unit": 16, "ratio": 0.6,
        "targets": {"pixels": 1.0, "features": 1.0}, "steps": 0,
    }  # fmt: skip
    config = {"type": "FPN", "num_outs": 5}
    returned = publish(nn.DataParallel(model), tmp_path / "x.safetensors", neck_config=config)
    assert json.loads(returned["neck_config"]) == config and "source" not in returned
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pth")
    assert read_metadata(tmp_path / "x.pth") == {}
    (tmp_path / "y.safetensors").write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"y\.safetensors: the safetensors file is truncated"):
        read_metadata(tmp_path / "y.safetensors")
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        read_metadata(tmp_path / "nothing")


def created(path, **options):
    return timm.create_model(
        "vheat_nano", pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **{**ARCH, "img_size": 64, **options}
    ).eval()


@torch.no_grad()
def test_into_timm(model, path):
    net = created(path, num_classes=0)
    expected = model.backbone.forward_stages(IMAGE)
    assert all(map(torch.equal, net.forward_stages(IMAGE), expected))
    assert torch.equal(net.norm.weight, torch.ones(20))  # as a fresh one
    with pytest.warns(
        UserWarning, match=r"has no classifier: the model's 1000 classes are random.*num_classes=0 takes"
    ):
        net = created(path)
    assert all(map(torch.equal, net.forward_stages(IMAGE), expected)) and net.head.fc.weight.shape == (1000, 20)
    net = created(path, num_classes=7)
    assert all(map(torch.equal, net.forward_stages(IMAGE), expected)) and net(IMAGE).shape == (1, 7)
    features = created(path, features_only=True)
    assert all(torch.equal(a, b.permute(0, 3, 1, 2)) for a, b in zip(features(IMAGE), expected, strict=True))
    assert created(path, num_classes=0, img_size=96).stages[0].embedding.weight.shape[:2] == (24, 24)
    with pytest.raises(ValueError, match="do not fit the model"):
        created(path, num_classes=0, depths=(1, 1, 3, 1))


def test_into_a_network(path, make_backbone):
    report = load_checkpoint(make_backbone(), path)
    assert report.missing == ["norm.weight", "norm.bias"]
    assert sorted(report.unexpected)[0] == "out_norms.0.bias" and len(report.unexpected) == 8
    load_checkpoint(make_backbone(), path, prefix="backbone.")
    with pytest.raises(ValueError, match=r"prefix='neck\.': the file's networks have the prefixes \['backbone\.'\]"):
        load_checkpoint(make_backbone(), path, prefix="neck.")


def test_two_networks_are_told_apart_by_their_prefix(path, make_backbone, tmp_path):
    tensors = load_file(path)
    teacher = {n.replace("backbone.", "teacher."): t + 1 for n, t in tensors.items() if n.startswith("backbone.")}
    save_file({**tensors, **teacher}, tmp_path / "two.safetensors")
    net = make_backbone()
    with pytest.raises(ValueError, match="several networks"):
        load_checkpoint(net, tmp_path / "two.safetensors")
    load_checkpoint(net, tmp_path / "two.safetensors", prefix="teacher.")
    assert torch.equal(net.stem.conv1.weight, tensors["backbone.stem.conv1.weight"] + 1)


def test_the_tool_says_what_is_in_it(path, tmp_path, capsys):
    tool.say(path)
    text = capsys.readouterr().out
    for line in ("a vheat of widths", "beside it: neck, 16 tensors", "neck: FPN", "source: digit scenes, 10 epochs"):
        assert line in text
    tool.convert(path, tmp_path / "alone.safetensors")
    assert "left out, another part: neck, 16 tensors" in capsys.readouterr().out
    assert "out_norms.0.weight" in load_file(tmp_path / "alone.safetensors")


def test_errors(model, tmp_path, monkeypatch):
    with pytest.raises(TypeError, match="model must be a model of masked pre-training, got Linear"):
        publish(nn.Linear(1, 1), tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"path must end in \.safetensors, got .*x\.pth"):
        publish(model, tmp_path / "x.pth")
    (tmp_path / "x.safetensors").write_bytes(b"before")

    def full(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr("backbones.pretraining.published.save_file", full)
    with pytest.raises(OSError, match="no space"):
        publish(model, tmp_path / "x.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"] and (
        tmp_path / "x.safetensors"
    ).read_bytes() == b"before"


def test_a_backbone_alone(make_model, tmp_path):
    from backbones.pretraining import PretrainingHead

    model = make_model(neck=None, head=PretrainingHead(decoder_dim=8))
    assert publish(model, tmp_path / "x.safetensors")["holds"] == "backbone of a masked pre-training"
    assert all(name.startswith("backbone.") for name in load_file(tmp_path / "x.safetensors"))
