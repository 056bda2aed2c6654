"""HiViT and iTPN as backbones of OpenMMLab: the published outputs, files, frozen stages, layer decay."""

from __future__ import annotations

import mmdet.registry
import mmseg.registry
import official_hivit
import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from small_dense import WIDTH, small_config
from torch import nn
from torch.nn import functional as F

import backbones.openmmlab

ARCH = {"embed_dim": 32, "depths": (1, 2, 2), "num_heads": 2}


def build(kind="ITPN", **options):
    torch.manual_seed(0)
    pyramid = {"pyramid_dim": 8} if kind == "ITPN" else {}
    return MODELS.build({"type": kind, "arch": ARCH, "img_size": 64, **pyramid, **options})


def official_file(folder, **form):
    state = official_hivit.official(dtype=torch.float32, **form)
    torch.save({"model": state}, folder / "x.pth")
    return state, {"type": "Pretrained", "checkpoint": str(folder / "x.pth")}


def test_one_registration_serves_root_mmdet_and_mmseg():
    for name in ("ITPN", "HiViT"):
        assert MODELS.get(name) is mmdet.registry.MODELS.get(name) is mmseg.registry.MODELS.get(name)


@pytest.mark.parametrize("size", [(64, 64), (70, 100)])
@torch.no_grad()
def test_outputs_of_an_official_detector(size, tmp_path):
    """The three levels by the restatement, and two average pools, with the eps of published detectors."""
    state, init_cfg = official_file(tmp_path, pyramid=(8, 1))
    net = build(init_cfg=init_cfg).double().eval()
    net.init_weights()
    image = torch.randn(3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wide = {name: t.double() for name, t in state.items()}
    first, second, last, grid = official_hivit.stage_units(wide, image, eps=1e-5)
    levels = official_hivit.pyramid_units(wide, first, second, last, eps=1e-5)
    expected = [official_hivit.as_map(units, grid, size)[None] for units in levels]
    for _ in range(2):
        expected.append(F.avg_pool2d(expected[-1], 2, 2))
    outs = net(image[None])
    assert len(outs) == 5 and all(out.is_contiguous() for out in outs)
    for found, e in zip(outs, expected, strict=True):
        torch.testing.assert_close(found, e, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_outputs_for_upernet():
    net = build(out="concat", pool="max", num_outs=4).eval()
    images = torch.randn(2, 3, 64, 96)
    levels, maps = net.forward_levels(images)
    outs = net(images)
    assert [out.shape[1] for out in outs] == [8 + 8, 8 + 16, 8 + 32, 8 + 32]
    for out, level, raw in zip(outs, levels, maps, strict=False):
        assert torch.equal(out[:, :8].permute(0, 2, 3, 1), level) and torch.equal(out[:, 8:].permute(0, 2, 3, 1), raw)
    assert torch.equal(outs[3], F.max_pool2d(outs[2], 2))
    published = MODELS.get("ITPN")(out="concat", num_outs=4, pool="max")
    assert [256 + info["num_chs"] for info in published.feature_info] == [384, 512, 768]


@torch.no_grad()
def test_dense_hivit_returns_normed_stage_maps():
    net = build("HiViT", out_indices=(0, 2), relative_bias=True).eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.2)
    images = torch.randn(1, 3, 50, 64)
    stages = net.forward_stages(images)
    for i, found in zip((0, 2), net(images), strict=True):
        norm = net.out_norms[str(i)]
        expected = F.layer_norm(stages[i], stages[i].shape[-1:], norm.weight, norm.bias, 1e-5)
        torch.testing.assert_close(found, expected.permute(0, 3, 1, 2))
    assert not any(n.startswith("head.") for n in net.state_dict())
    assert len(build("HiViT", out_indices=(0, 1)).stages) == 2


@pytest.mark.parametrize("kind", ["ITPN", "HiViT"])
def test_training_reaches_every_weight_and_checkpointing_changes_nothing(kind):
    gradients = []
    for with_cp in (False, True):
        net = build(kind, with_cp=with_cp, relative_bias=True).train()
        sum(out.square().sum() for out in net(torch.ones(1, 3, 64, 64))).backward()
        gradients.append([p.grad for p in net.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_frozen_stages():
    net = build(frozen_stages=2, drop_path_rate=0.5).train()
    frozen = [net.stem, net.stages[0], net.stages[1]]
    assert not any(p.requires_grad for part in frozen for p in part.parameters())
    assert not any(part.training for part in frozen) and net.stages[2].training
    assert all(p.requires_grad for part in (net.stages[2], net.pyramid) for p in part.parameters())


# -- files ------------------------------------------------------------------------------------------------------------


def test_pretraining_files_load_backbone_and_pyramid(tmp_path):
    state, init_cfg = official_file(tmp_path, pyramid=(8, 2), decoder=(64, 1))
    net = build(pyramid_depth=2, init_cfg=[init_cfg])
    net.init_weights()
    found = backbones.to_official(net.state_dict())
    assert all(torch.equal(t, state[name]) for name, t in found.items()) and "fpn_modules.0.norm2.bias" in found
    with pytest.raises(ValueError, match=r"pyramid\.blocks\.0\.1.*Create the model with the pyramid_dim and pyramid_d"):
        build(init_cfg=init_cfg).init_weights()


def test_load_from_takes_official_names(tmp_path):
    """As mmengine loads a whole detector: what is not the backbone's is its own."""
    from mmengine.runner.checkpoint import load_state_dict

    state = official_hivit.official(dtype=torch.float32, pyramid=(8, 1))
    detector = Detector(build())
    head = {"head.weight": torch.ones(4, 4), "head.bias": torch.ones(4)}
    load_state_dict(detector, {**{f"backbone.{n}": t for n, t in state.items()}, **head}, strict=True)
    found = backbones.to_official(detector.backbone.state_dict())
    assert set(found) == set(state) and all(torch.equal(t, state[n]) for n, t in found.items())
    own = Detector(build())
    load_state_dict(own, detector.state_dict(), strict=True)
    assert all(torch.equal(t, detector.state_dict()[n]) for n, t in own.state_dict().items())


@torch.no_grad()
def test_load_from_resizes_official_positions():
    """A file of 64 px, in a detector that stores them for 96 px, computes there what the smaller one does."""
    from mmengine.runner.checkpoint import load_state_dict

    state = official_hivit.official(dtype=torch.float32, pyramid=(8, 1))
    small, large = (Detector(build(img_size=size)).eval() for size in (64, 96))
    for detector in (small, large):
        load_state_dict(detector, {f"backbone.{n}": t for n, t in state.items()})
    x = torch.randn(1, 3, 96, 96)
    for found, expected in zip(large.backbone(x), small.backbone(x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_detector_of_ones_own_and_its_backbone_in_a_plain_one(tmp_path):
    source = build()
    detector = {f"backbone.{n}": t for n, t in source.state_dict().items()}
    torch.save({"state_dict": {**detector, "bbox_head.weight": torch.zeros(3)}, "meta": {}}, tmp_path / "x.pth")
    init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "x.pth")}
    for kind, missing in (("ITPN", set()), ("HiViT", {"out_norms"})):
        net = build(kind, init_cfg=init_cfg)
        net.init_weights()
        same = {
            n
            for n, t in net.state_dict().items()
            if n in source.state_dict() and torch.equal(t, source.state_dict()[n])
        }
        assert {n.partition(".")[0] for n in set(net.state_dict()) - same} == missing


def test_parts_of_a_file_are_left_out_where_asked(tmp_path):
    _, init_cfg = official_file(tmp_path, classes=5, relative=True)
    net = build(init_cfg={**init_cfg, "leave_out": ["pyramid.*", "*.bias.table"]})
    net.init_weights()
    with pytest.raises(ValueError, match="the weights do not fit"):
        build(init_cfg={**init_cfg, "leave_out": ["pyramid.*"]}).init_weights()


def test_a_detector_without_neck_trains():
    """Mask R-CNN on four levels; its losses reach every weight of backbone and pyramid."""
    config = small_config("mask-rcnn")
    config.model.backbone = {"type": "ITPN", "arch": ARCH, "img_size": 64, "pyramid_dim": WIDTH, "num_outs": 4}
    config.model.pop("neck")
    init_default_scope(config.default_scope)
    detector = MODELS.build(config.model)
    detector.init_weights()
    batch = demo_mm_inputs(1, [[3, 64, 64]], num_items=[3], num_classes=3, with_mask=True)
    losses = detector(**detector.data_preprocessor(batch, True), mode="loss")
    sum(value if torch.is_tensor(value) else sum(value) for name, value in losses.items() if "loss" in name).backward()
    assert not [n for n, p in detector.backbone.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


# -- layer decay ------------------------------------------------------------------------------------------------------


class Detector(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(4, 4)


@pytest.mark.parametrize("kind", ["ITPN", "HiViT"])
def test_scales_of_layer_decay(kind):
    net = build(kind, relative_bias=True)
    config = {
        "type": "OptimWrapper",
        "constructor": "LayerDecayConstructor",
        "optimizer": {"type": "AdamW", "lr": 1.0},
        "paramwise_cfg": {"layer_decay": 0.5},
    }
    detector = Detector(net)
    groups = build_optim_wrapper(detector, config).optimizer.param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    # Stem, then 1 + 2 + 2 blocks; what comes behind the last block of a plain one is a layer more.
    behind = {"ITPN": ("pyramid", 6), "HiViT": ("out_norms", 6)}[kind]
    top = 6 if kind == "ITPN" else 7
    layers = {
        "stem": 0,
        "stages.2.positions": 0,
        "stages.0.blocks.0": 1,
        "stages.1.merge": 1,
        "stages.1.blocks.0": 2,
        "stages.1.blocks.1": 3,
        "stages.2.merge": 3,
        "stages.2.blocks.0": 4,
        "stages.2.blocks.1": 5,
        behind[0]: behind[1],
    }
    seen = set()
    for name, p in net.named_parameters():
        (start,) = [start for start in layers if name.startswith(f"{start}.")]
        seen.add(start)
        assert rates[id(p)] == 0.5 ** (top - layers[start]), name
    assert seen == set(layers) and rates[id(detector.head.weight)] == 1


# -- bad arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_outs": 2}, ValueError, "num_outs must be 3, 4 or 5, got 2"),
        ({"out": "levels"}, ValueError, r"out must be one of \('pyramid', 'concat'\), got 'levels'"),
        ({"pool": "sum"}, ValueError, r"pool must be one of \('avg', 'max'\), got 'sum'"),
        ({"arch": "huge"}, ValueError, "arch must be one of .*'base', 'fast_base'.* or a dict, got 'huge'"),
        ({"arch": {"embed_dim": 8}}, ValueError, "arch as a dict needs depths, embed_dim, num_heads"),
        ({"pyramid_depth": -1}, ValueError, "pyramid_depth must be an int of at least 0, got -1"),
        ({"pyramid_dims": 8}, TypeError, "pyramid_dims"),
        ({"frozen_stages": 4}, ValueError, "frozen_stages must be between -1 and 3, got 4"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        build(**options)


def test_images_too_small_to_pool():
    with pytest.raises(ValueError, match=r"images of \(40, 64\) px are too small for 5 outputs: a map of \(1, 2\)"):
        build()(torch.zeros(1, 3, 40, 64))
