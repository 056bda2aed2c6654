"""iTPN's pre-training in mmengine: modes, resumed runs, and the pre-trained pyramid in a detector."""

from __future__ import annotations

import itertools
import json

import numpy as np
import official_hivit
import pytest
import timm
import torch
import toy_run
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from backbones import read_checkpoint
from backbones.hivit import ITPN
from backbones.openmmlab.runner import SafeRunner
from backbones.pretraining import publish
from backbones.weights.conversion import to_official
from backbones.weights.loading import load_checkpoint
from backbones.weights.reading import read_metadata

ARCH = {"embed_dim": 32, "depths": (1, 1, 4), "num_heads": 2}
COMMON = {"arch": ARCH, "img_size": 64, "pyramid_dim": 8}
FORMS = {
    "pixels": {"type": "ITPNPretraining", **COMMON, "decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2},
    "features": {"type": "ITPNFeaturePretraining", **COMMON, "mask": {"type": "RandomUnits", "ratio": 0.4}},
}
LOSSES = {"pixels": ["loss_pixels"], "features": ["loss_pyramid", "loss_deep"]}
RUNS = itertools.count()


def built(form, **options):
    torch.manual_seed(0)
    model = MODELS.build({**FORMS[form], **options})
    model.init_weights()
    return model


@pytest.mark.parametrize("form", FORMS)
def test_modes(form):
    model = built(form).eval()
    x = torch.randn(2, 3, 64, 64)
    maps = model(x)
    assert [tuple(m.shape) for m in maps] == [(2, 8, n, n) for n in (16, 8, 4)] and all(m.is_contiguous() for m in maps)
    mask = model.mask(2, (64, 64))
    losses = model(x, toy_samples(mask), mode="loss")
    expected = model._learnt(x, *model._choice(x, None, mask))[0]
    assert list(losses) == LOSSES[form] and all(torch.equal(losses[f"loss_{n}"], t) for n, t in expected.items())
    samples = model(x, toy_samples(mask), mode="predict")
    assert samples[1].losses == {name: float(t.detach()) for name, t in losses.items()}
    with pytest.raises(ValueError, match="mode must be"):
        model(x, mode="train")


def toy_samples(mask):
    from mmengine.structures import BaseDataElement

    samples = [BaseDataElement() for _ in mask]
    for sample, each in zip(samples, mask, strict=True):
        sample.mask = each
    return samples


def test_pictures_on_the_scale_of_the_images():
    model = built("pixels")
    x = torch.randint(0, 256, (1, 3, 64, 64)).float()
    mask = model.mask(1, (64, 64))
    found = model.reconstruct(x, mask=mask)
    seen = ~mask.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None].expand_as(x)
    torch.testing.assert_close(found[seen], x[seen], atol=1e-3, rtol=0)
    assert (found != x).any()


def test_a_teacher_of_the_registry():
    arch = {"dims": [8, 12, 16, 20], "depths": (1, 1, 1, 1), "init_std": None}
    model = built("features", teacher={"type": "VHeat", "arch": arch, "img_size": 64})
    assert type(model.features.teacher.net).__name__ == "VHeat" and model.features.channels == [16]
    frozen = timm.create_model("vit_tiny_patch16_224", img_size=64, embed_dim=24, num_heads=2, depth=1)
    weights = frozen.blocks[0].attn.qkv.weight.clone()
    model = built("features", teacher=frozen)
    assert torch.equal(model.features.teacher.net.blocks[0].attn.qkv.weight, weights)


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i in range(8):
        noise = np.random.default_rng(i).normal(0, 20, (70, 80, 3)) + np.linspace(0, 200, 80)[:, None]
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def runner(form, folder, data, hooks=(), resume=False):
    torch.manual_seed(0)
    return SafeRunner(
        model=FORMS[form],
        work_dir=str(folder),
        train_dataloader={
            "batch_size": 4,
            "num_workers": 0,
            "collate_fn": {"type": "pseudo_collate"},
            "dataset": {"type": "ImageFolder", "data_root": str(data), "size": 64},
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
        },
        train_cfg={"by_epoch": False, "max_iters": 4, "val_interval": 1000},
        optim_wrapper={"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 1e-3}},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False, "max_keep_ckpts": 2}},
        custom_hooks=[{"type": "PretrainingHook", "source": "noise"}, *hooks],
        resume=resume,
        randomness={"seed": 0},
        experiment_name=f"itpn-{next(RUNS)}",
        log_level="ERROR",
    )


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler")
@pytest.mark.parametrize("form", FORMS)
def test_a_resumed_run_is_the_unbroken_one(form, data, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    runner(form, whole, data).train()
    with pytest.raises(toy_run.Killed):
        runner(form, broken, data, hooks=[toy_run.KillAt(step=2)]).train()
    runner(form, broken, data, resume=True).train()
    files = [toy_run.read(f / "iter_4.pth") for f in (whole, broken)]
    toy_run.assert_same(*files)
    state = files[0]["state_dict"]
    assert int(state["steps"]) == 4
    published = load_file(broken / "pretrained.safetensors")
    assert all(torch.equal(t, state[n.removeprefix("backbone.")]) for n, t in published.items())
    assert json.loads(read_metadata(broken / "pretrained.safetensors")["steps"]) == 4


# -- the published file -----------------------------------------------------------------------------------------------


@pytest.fixture(params=FORMS)
def published(request, tmp_path):
    model = built(request.param)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    path = tmp_path / "pretrained.safetensors"
    return model.eval(), path, publish(nn.DataParallel(model), path, source="noise")


@torch.no_grad()
def test_the_pyramid_arrives_in_a_detector(published):
    model, path, _ = published
    x = torch.randn(2, 3, 64, 96)
    expected = model(x)
    tensors = load_file(path)
    assert {name.split(".")[1] for name in tensors} == {"stem", "stages", "pyramid"}
    sizes = {"arch": ARCH, "img_size": 64, "pyramid_dim": 8, "norm_eps": 1e-6}
    for prefix in ({}, {"prefix": "backbone."}):
        init = {"type": "Pretrained", "checkpoint": str(path), **prefix}
        net = MODELS.build({"type": "ITPN", **sizes, "pyramid_depth": 2, "init_cfg": init}).eval()
        net.init_weights()
        for found, level in zip(net(x)[:3], expected, strict=True):
            torch.testing.assert_close(found, level)
    detector = nn.Module()
    detector.backbone = MODELS.build({"type": "ITPN", **sizes, "pyramid_depth": 2}).eval()
    detector.load_state_dict(tensors)  # every name and no other: load_from has nothing to leave out
    torch.testing.assert_close(detector.backbone(x)[0], expected[0])
    shallow = MODELS.build({"type": "ITPN", **sizes, "init_cfg": init})
    with pytest.raises(ValueError, match=r"pyramid\.blocks\.0\.1.*pyramid_depth of the file"):
        shallow.init_weights()


def test_another_eps_than_in_pre_training_is_said(published, monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), "warning", said.append)
    init = {"type": "Pretrained", "checkpoint": str(published[1])}
    for eps in (1e-6, 1e-5):
        sizes = {"arch": ARCH, "img_size": 64, "pyramid_dim": 8, "pyramid_depth": 2, "norm_eps": eps}
        MODELS.build({"type": "ITPN", **sizes, "init_cfg": init}).init_weights()
    assert said == [f"{published[1]} was trained with norm_eps=1e-06, and ITPN has 1e-05"]


def test_what_a_published_file_says(published, tmp_path):
    model, path, told = published
    assert read_metadata(path) == told and told["source"] == "noise" and told["format"] == "pt"
    pyramid = "a pyramid of width 8 and depth 2"
    assert told["network"] == f"a HiViT of width 32 and depths (1, 1, 4) with {pyramid}"
    sizes = {name: json.loads(told[name]) for name in ("embed_dim", "depths", "num_heads", "pyramid_dim", "norm_eps")}
    assert sizes == {"embed_dim": 32, "depths": [1, 1, 4], "num_heads": 2, "pyramid_dim": 8, "norm_eps": 1e-6}
    net = ITPN(**ARCH, img_size=json.loads(told["img_size"]), pyramid_dim=8, pyramid_depth=int(told["pyramid_depth"]))
    report = load_checkpoint(net, path)
    assert not report.missing and not report.unexpected
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in net.state_dict().items())
    with pytest.raises(ValueError, match="neck_config must be None for iTPN"):
        publish(model, tmp_path / "x.safetensors", neck_config={"type": "FPN"})


def test_official_weights_go_on_to_a_detector(tmp_path):
    state = official_hivit.official(
        e=32, depths=(1, 1, 4), heads=2, pyramid=(8, 2), decoder=(32, 1), dtype=torch.float32
    )
    torch.save({"model": state}, tmp_path / "official.pth")
    init = {"type": "Pretrained", "checkpoint": str(tmp_path / "official.pth")}
    model = built("pixels", init_cfg=init)
    held = {name: tensor for name, tensor in model.state_dict().items() if name != "steps"}
    found = to_official(held)
    assert set(found) == set(state) and all(torch.equal(found[name], state[name]) for name in state)
    publish(model, tmp_path / "published.safetensors")
    network = {n.removeprefix("backbone."): t for n, t in read_checkpoint(tmp_path / "published.safetensors").items()}
    found = to_official(network)
    assert all(torch.equal(found[name], state[name]) for name in found) and len(found) == len(network)
    for path in ("official.pth", "published.safetensors"):
        taught = built("features", init_cfg={**init, "checkpoint": str(tmp_path / path)})
        assert all(torch.equal(t, taught.state_dict()[n]) for n, t in network.items())
    for prefix in ("backbone", "backbone."):
        taught = built("features", init_cfg={**init, "checkpoint": str(tmp_path / path), "prefix": prefix})
        assert all(torch.equal(t, taught.state_dict()[n]) for n, t in network.items())
    with pytest.raises(ValueError, match=r"pyramid\.blocks\.0\.1"):
        built("pixels", init_cfg=init, pyramid_depth=1)
    with pytest.raises(ValueError, match="init_cfg must be None or dict"):
        built("pixels", init_cfg={"type": "Xavier"})
