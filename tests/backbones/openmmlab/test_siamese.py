"""A backbone that sees two images."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from backbones.openmmlab import Siamese

VHEAT = {"type": "VHeat", "arch": "nano", "img_size": 64, "out_indices": (0, 2)}


def _build(**options):
    torch.manual_seed(0)
    net = MODELS.build({"type": "Siamese", "backbone": VHEAT, **options}).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


@torch.no_grad()
def test_maps_are_fused_stage_by_stage():
    before, after = torch.randn(2, 2, 3, 64, 96)
    net = _build()
    each = net.backbone(before), net.backbone(after)
    pair = torch.cat([before, after], 1)
    for found, a, b in zip(net(pair), *each, strict=True):
        assert torch.allclose(found, (a - b).abs(), atol=1e-5) and found.is_contiguous()
    for found, other in zip(net(pair), net(torch.cat([after, before], 1)), strict=True):
        assert torch.equal(found, other) and found.std() > 0.01
    for found, a, b in zip(_build(fuse="concat")(pair), *each, strict=True):
        assert torch.allclose(found, torch.cat([a, b], 1), atol=1e-5)
    assert all((m == 0).all() for m in net(torch.cat([before, before], 1)))


def test_weights_come_from_the_inner_checkpoint(tmp_path):
    saved = MODELS.build(VHEAT)
    torch.save(saved.state_dict(), tmp_path / "x.pth")
    net = _build(backbone={**VHEAT, "init_cfg": {"type": "Pretrained", "checkpoint": str(tmp_path / "x.pth")}})
    net.init_weights()
    assert all(torch.equal(t, saved.state_dict()[name]) for name, t in net.backbone.state_dict().items())


def test_a_backbone_of_any_kind():
    @MODELS.register_module(name="OneConvolutionForPairs", force=True)
    class OneConvolution(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 4, 4, 4)

        def forward(self, x):
            return (self.layer(x),)

    net = Siamese({"type": "OneConvolutionForPairs"})
    net.init_weights()
    (found,) = net(torch.randn(1, 2, 8, 8))
    found.sum().backward()
    assert found.shape == (1, 4, 2, 2)


def test_bad_input():
    with pytest.raises(ValueError, match=r"fuse must be one of \('abs_diff', 'concat'\), got 'sum'"):
        _build(fuse="sum")
    with pytest.raises(ValueError, match=r"two images of C channels, got \(1, 3, 64, 64\)"):
        _build()(torch.randn(1, 3, 64, 64))
