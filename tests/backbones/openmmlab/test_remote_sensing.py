"""RS-vHeat as a backbone of OpenMMLab."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner.checkpoint import get_state_dict
from official_rs_vheat import DEPTHS, DIMS, encode, official_state

import backbones.openmmlab  # noqa: F401 (registers)
from backbones.remote_sensing import RSVHeat, specs_in

BANDS = [
    {"name": "optical", "bands": ["R", "G", "B"], "unit": None, "mean": 0.0, "std": 1.0},
    {"name": "sar", "bands": ["VV"], "unit": None, "mean": [0.0], "std": [1.0]},
]
ARCH = {"dims": DIMS, "depths": DEPTHS, "norm_placement": "post", "layer_scale": 0.5}


def _build(**options):
    return MODELS.build({"type": "RSVHeat", "arch": ARCH, "modalities": BANDS, "img_size": 64, **options})


@torch.no_grad()
def test_official_file_by_init_cfg(tmp_path):
    state = official_state()
    torch.save({"model": {f"encoder.{name}": t for name, t in state.items()}}, tmp_path / "x.pth")
    init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "x.pth")}
    net = _build(out_indices=(0, 2, 3), init_cfg=init_cfg).double().eval()
    net.init_weights()
    pair = {"optical": torch.randn(2, 3, 64, 64).double(), "sar": torch.randn(2, 1, 64, 64).double()}
    maps = net(torch.cat(list(pair.values()), 1))  # packed, as the data preprocessor hands them on
    each = encode(state, pair["optical"], "opt"), encode(state, pair["sar"], "sar")
    theirs = [(a + b) / 2 for a, b in zip(*each, strict=True)]
    for ours, i in zip(maps, (0, 2, 3), strict=True):
        expected = torch.nn.functional.layer_norm(theirs[i], (DIMS[i],), eps=1e-5).permute(0, 3, 1, 2)
        assert ours.is_contiguous() and torch.allclose(ours, expected, atol=1e-8)
    assert net.out_channels == [8, 16, 20]
    # Official names are understood by load_state_dict, too, as load_from uses it.
    again = _build(out_indices=(0, 2, 3)).double().eval()
    again.load_state_dict(state, strict=False)
    assert torch.equal(again.stages[2].guide.weight, state["heat_capacity.2"])


def test_a_checkpoint_of_the_framework_has_the_specs():
    net = _build(fusion="concat", out_indices=(1, 3), with_cp=True)
    assert net.out_channels == [24, 40]
    assert specs_in(get_state_dict(net)) == net.modalities
    sum(m.sum() for m in net({"sar": torch.randn(1, 1, 64, 64)})).backward()


def test_frozen_stages_and_layers():
    net = _build(frozen_stages=1).train()
    frozen = {name.split(".")[0] + name.split(".")[1] for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {"stemoptical", "stemsar", "stages0"} and not net.stem.training and net.stages[1].training
    assert isinstance(net, RSVHeat)


def test_unknown_arguments():
    with pytest.raises(TypeError, match="in_chans"):
        _build(in_chans=4)
    with pytest.raises(TypeError, match="a modality must be"):
        _build(modalities=["sar"])


@torch.no_grad()
def test_packed_images_of_some_modalities():
    net = _build().eval()
    for parameter in net.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    some = _build(inputs=["sar"]).eval()
    some.load_state_dict(net.state_dict())
    image = torch.randn(2, 1, 64, 96)
    for found, expected in zip(some(image), net({"sar": image}), strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(ValueError, match=r"packed images of sar must have shape \(B, 1, H, W\), got \(2, 4, 64, 96\)"):
        some(torch.randn(2, 4, 64, 96))
    for inputs in (["radar"], [], ["sar", "sar"]):
        with pytest.raises(ValueError, match=r"inputs must be some of the modalities \['optical', 'sar'\]"):
            _build(inputs=inputs)
    assert _build(inputs=["sar", "optical"]).inputs == ("optical", "sar")
