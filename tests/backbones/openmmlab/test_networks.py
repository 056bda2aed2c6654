import subprocess
import sys

import mmdet.registry
import mmseg.registry
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

import backbones.openmmlab

VHeat = MODELS.get("VHeat")


def build(**kwargs):
    torch.manual_seed(0)
    return MODELS.build({"type": "VHeat", "arch": "nano", "img_size": 64, **kwargs})


def test_one_registration_serves_root_mmdet_and_mmseg():
    for registry in (MODELS, mmdet.registry.MODELS, mmseg.registry.MODELS):
        assert registry.get("VHeat") is VHeat


def test_importing_backbones_imports_no_openmmlab_package():
    code = (
        "import sys, backbones; assert not [m for m in sys.modules if m.split('.')[0] in ('mmengine', 'mmcv', 'mmdet')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3), (1, 3), (2,)])
def test_outputs_are_the_normed_stage_maps(out_indices):
    net = build(out_indices=out_indices)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    x = torch.randn(2, 3, 70, 96)
    stages = net.forward_stages(x)
    outputs = net(x)
    assert len(stages) == out_indices[-1] + 1  # nothing is computed past the last output
    assert len(outputs) == len(out_indices)
    for i, y in zip(out_indices, outputs, strict=True):
        norm = net.out_norms[str(i)]
        raw = stages[i]
        expected = (raw - raw.mean(-1, keepdim=True)) / (raw.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(y.permute(0, 2, 3, 1), expected * norm.weight + norm.bias, rtol=1e-4, atol=1e-4)


def test_roi_features_are_those_of_the_map():
    from mmcv.ops import RoIAlign
    from torchvision.ops import roi_align

    net = build().eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    boxes = torch.tensor([[0, 3.0, 5.0, 40.0, 61.0], [1, 20.0, 8.0, 63.0, 30.0]])
    convolution = torch.nn.Conv2d(64, 16, 3, padding=1)  # as in a neck: it keeps the memory layout it is given
    with torch.no_grad():
        outputs = net(torch.randn(2, 3, 64, 64))
        assert all(y.is_contiguous() for y in outputs)
        features = convolution(outputs[1])
        found = RoIAlign(7, 1 / 8, sampling_ratio=2)(features, boxes)
        expected = roi_align(features.contiguous(), boxes, 7, 1 / 8, 2, aligned=True)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("out_indices", [(), (0, 4), (-1,), (1, 0), (1, 1), 3, (0, True), (0, 1.0), "0"])
def test_bad_out_indices(out_indices):
    with pytest.raises(ValueError, match=r"out_indices must be ascending stages out of 0\.\.3"):
        build(out_indices=out_indices)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"frozen_stages": 5}, ValueError, "frozen_stages must be between -1 and 4, got 5"),
        ({"arch": "huge"}, ValueError, r"arch must be one of \['base', 'nano', 'small', 'tiny'\]"),
        ({"arch": {"dims": (8, 16)}}, ValueError, "arch as a dict needs dims and depths"),
        ({"drop_path_ratee": 0.1}, TypeError, "drop_path_ratee"),
        ({"img_size": 16}, ValueError, r"img_size|image size"),
        ({"init_cfg": {"type": "Kaiming"}}, ValueError, "init_cfg must be None or dict"),
        ({"init_cfg": []}, ValueError, r"or a list of one such dict, got \[\]"),
        ({"init_cfg": [{"type": "Pretrained", "checkpoint": "x"}] * 2}, ValueError, "or a list of one such dict, got"),
        ({"init_cfg": [{"type": "Kaiming"}]}, ValueError, "or a list of one such dict, got"),
        ({"init_cfg": "x.pth"}, ValueError, "init_cfg must be None or dict.*got 'x.pth'"),
        ({"init_cfg": {"type": "Pretrained", "checkpoint": "x", "strict": True}}, ValueError, "init_cfg must be None"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        build(**arguments)


def test_arch_as_a_dict():
    net = build(
        arch={"dims": (8, 16), "depths": (1, 1), "norm_placement": "post", "layer_scale": 1e-5}, out_indices=(0, 1)
    )
    assert [tuple(y.shape) for y in net(torch.randn(1, 3, 64, 64))] == [(1, 8, 16, 16), (1, 16, 8, 8)]


def test_frozen_stages_have_no_gradient_and_stay_in_evaluation_mode():
    net = build(frozen_stages=2, drop_path_rate=0.5).train()
    frozen = [net.stem, net.stages[0], net.stages[1]]
    assert not any(p.requires_grad for part in frozen for p in part.parameters())
    assert not any(part.training for part in frozen)
    assert net.stages[2].training and all(p.requires_grad for p in net.stages[2].parameters())
    sum(y.square().sum() for y in net(torch.randn(1, 3, 64, 64))).backward()
    assert all(p.grad is None for part in frozen for p in part.parameters())
    assert all(p.grad is not None for p in net.stages[3].parameters())


def test_activation_checkpointing_gives_the_same_gradients():
    x = torch.randn(2, 3, 64, 64)
    gradients = []
    for with_cp in (False, True):
        net = build(with_cp=with_cp).train()
        sum(y.square().sum() for y in net(x)).backward()
        gradients.append([p.grad for p in net.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("as_list", [False, True])  # mmengine takes both
def test_init_cfg_loads_a_checkpoint_and_resizes_its_embeddings(tmp_path, as_list):
    source = build(img_size=64)
    for p in source.parameters():
        torch.nn.init.normal_(p)
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "x.pth")
    init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "x.pth"), "resize": "pad"}
    net = build(img_size=128, init_cfg=[init_cfg] if as_list else init_cfg)
    net.init_weights()
    theirs, ours = source.stages[0].embedding.weight, net.stages[0].embedding.weight
    assert ours.shape == (32, 32, 32)
    assert torch.equal(ours[:16, :16], theirs) and not ours[16:].any() and not ours[:, 16:].any()
    assert torch.equal(net.stages[3].blocks[0].mlp.fc1.weight, source.stages[3].blocks[0].mlp.fc1.weight)


def test_init_cfg_without_a_file_says_so():
    net = build(init_cfg={"type": "Pretrained", "checkpoint": "nowhere.pth"})
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        net.init_weights()


def test_docstring_example():
    import doctest

    assert doctest.testmod(backbones.openmmlab.networks).failed == 0


@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3), (1, 2)], ids=str)
@torch.no_grad()
def test_timms_contract_goes_on_working(out_indices):
    net = build(img_size=64, out_indices=out_indices).eval()
    x = torch.randn(1, 3, 64, 96)
    maps = net.forward_intermediates(x, list(out_indices), intermediates_only=True)
    for norm, raw, dense in zip(net.out_norms.values(), maps, net(x), strict=True):
        torch.testing.assert_close(norm(raw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), dense)
    last = out_indices[-1]
    assert net.forward_features(x).shape[-1] == net.num_features == net.feature_info[last]["num_chs"]
    net.reset_classifier(5, "avg")
    assert net.forward_head(net.forward_features(x)).shape == (1, 5)
    before = net(x)
    net.reparameterize([(64, 96)])
    torch.testing.assert_close(net(x), before)


def test_freezing_leaves_the_norms_of_the_outputs_to_train():
    net = build(img_size=64, out_indices=(1, 3), frozen_stages=2).train()
    frozen = [not p.requires_grad for part in net.parts()[:3] for p in part.parameters()]
    assert all(frozen) and not net.stem.training and not net.stages[1].training and net.stages[2].training
    assert all(p.requires_grad for p in (*net.out_norms.parameters(), *net.stages[2].parameters()))


def test_out_indices_of_numpy():
    net = build(out_indices=(np.int64(1), np.int32(3)))
    assert net.out_indices == (1, 3) and [type(i) for i in net.out_indices] == [int, int]
    assert [m.shape[1] for m in net(torch.randn(1, 3, 64, 64))] == [64, 256]
