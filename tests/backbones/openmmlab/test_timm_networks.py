import argparse
from collections import Counter

import pytest
import timm
import torch
from mmengine.registry import MODELS
from torch import nn

import backbones.openmmlab  # noqa: F401 (registers)

SMALL = {
    "swin_tiny_patch4_window7_224": {
        "embed_dim": 32, "depths": (1, 1, 3, 1), "num_heads": (1, 2, 4, 8), "img_size": 96, "window_size": 3,
    },
    "convnext_tiny": {"dims": (32, 64, 128, 256), "depths": (1, 1, 3, 1)},
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_maps_are_timms_channels_first_and_contiguous(name):
    torch.manual_seed(0)
    net = MODELS.build({"type": "TimmBackbone", "model_name": name, "options": SMALL[name]}).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, 3, 96, 96)
    found, raw = net(x), net.net(x)
    assert net.channels == [32, 64, 128, 256]
    for y, z, side, width in zip(found, raw, (24, 12, 6, 3), net.channels, strict=True):
        assert y.shape == (2, width, side, side) and y.is_contiguous()
        torch.testing.assert_close(y, z if z.shape == y.shape else z.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("convnext_tiny", p) for p in ("", "_orig_mod.module.", "model.", "net._orig_mod.")] + [("vheat_nano", "model.")],
)
def test_weights_from_a_file_of_any_trainer(tmp_path, name, prefix):
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=3, **SMALL.get(name, {})).eval()
    state = {f"{prefix}{name}": tensor for name, tensor in whole.state_dict().items()}
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=0.1), "loss": Counter(a=1)}, tmp_path / "file.pth")
    overlay = {"file": str(tmp_path / "file.pth"), "num_classes": 3}
    options = {**SMALL.get(name, {}), "pretrained": True, "pretrained_cfg_overlay": overlay}
    net = MODELS.build({"type": "TimmBackbone", "model_name": name, "options": options}).eval()
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(list(net(x)), whole.forward_intermediates(x, intermediates_only=True))


def test_weights_are_an_option_of_timm():
    options = {"pretrained": True, "pretrained_cfg_overlay": {"file": "~/nowhere.pth"}}
    with pytest.raises(FileNotFoundError, match=r"no such checkpoint: /.*/nowhere.pth"):
        MODELS.build({"type": "TimmBackbone", "model_name": "resnet10t", "options": options})
    with pytest.raises(TypeError, match="pretrained"):
        MODELS.build({"type": "TimmBackbone", "model_name": "convnext_tiny", "pretrained": True})


def test_weights_from_a_detector_or_segmentor(tmp_path):
    config = {"type": "TimmBackbone", "model_name": "convnext_tiny", "options": SMALL["convnext_tiny"]}
    theirs = MODELS.build(config)
    state = {f"backbone.{n}": t for n, t in theirs.state_dict().items()} | {"neck.conv.weight": torch.zeros(1)}
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "a.pth")
    init = {"type": "Pretrained", "checkpoint": str(tmp_path / "a.pth")}
    net = MODELS.build({**config, "init_cfg": init})
    net.init_weights()
    assert all(torch.equal(t, theirs.state_dict()[n]) for n, t in net.state_dict().items())
    with pytest.raises(RuntimeError, match="Missing key"):
        MODELS.build({"type": "TimmBackbone", "model_name": "resnet10t", "init_cfg": init}).init_weights()
    with pytest.raises(ValueError, match="init_cfg must be dict"):
        MODELS.build({**config, "init_cfg": {"type": "Kaiming"}})
