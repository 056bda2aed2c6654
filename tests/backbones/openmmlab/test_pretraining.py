"""Masked pre-training in mmengine: modes, data, resumed runs, and the published file in detectors."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import toy_pretraining
import toy_run
from mmengine.registry import DATASETS, MODELS, TASK_UTILS, init_default_scope
from mmengine.structures import BaseDataElement
from PIL import Image
from safetensors.torch import load_file
from small_dense import small_config
from torch import nn
from toy_pretraining import BACKBONE, NECK, WIDTHS, config, draw_images, runner

from backbones import pretraining
from backbones.openmmlab import read_safely
from backbones.pretraining import TeacherCollapse, effective_rank, publish


def built(seed=0, **options):
    torch.manual_seed(seed)
    model = MODELS.build(config(**options))
    model.init_weights()
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    draw_images(folder)
    return folder


def batch(folder, count=2):
    data = DATASETS.build({"type": "ImageFolder", "data_root": str(folder), "size": 64, "train": False})
    samples = [data[i] for i in range(count)]
    return {name: [s[name] for s in samples] for name in ("inputs", "data_samples")}


# -- the model --------------------------------------------------------------------------------------------------------


def test_modes(folder):
    model = built().eval()
    data = model.data_preprocessor(batch(folder), False)
    assert data["inputs"].shape == (2, 3, 64, 64) and data["data_samples"][1].img_path.endswith("1.png")
    maps = model(**data)
    dense = model.neck(model.backbone(data["inputs"]))  # as a detector would
    assert len(maps) == 5 and all(torch.allclose(a, b, atol=1e-5) for a, b in zip(maps, dense, strict=True))
    torch.manual_seed(0)
    losses = model(**data, mode="loss")
    assert list(losses) == ["loss_pixels", "loss_features"]
    torch.manual_seed(0)
    plain = model.losses(torch.stack(batch(folder)["inputs"]))
    assert all(torch.equal(plain[n], losses[f"loss_{n}"]) for n in plain)
    torch.manual_seed(0)
    samples = model(**data, mode="predict")
    assert [s.losses["loss_pixels"] for s in samples] == [float(losses["loss_pixels"].detach())] * 2
    torch.manual_seed(1)
    again = model(**data, mode="predict")  # masks of their own, so that validations can be compared
    assert again[0].losses == samples[0].losses and torch.initial_seed() == 1
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(1)))
    with pytest.raises(ValueError, match="mode must be 'loss', 'tensor' or 'predict', got 'train'"):
        model(**data, mode="train")


def test_masks_of_samples(folder):
    model = built().eval()
    data = model.data_preprocessor(batch(folder), False)
    masks = model.mask(2, (64, 64))
    expected = model._losses(data["inputs"], masks)
    for sample, mask in zip(data["data_samples"], masks, strict=True):
        sample.mask = mask.numpy()
    found = model(**data, mode="loss")
    assert all(torch.equal(found[f"loss_{n}"], expected[n]) for n in expected)
    del data["data_samples"][0].mask
    with pytest.raises(ValueError, match="1 of 2 data_samples have a mask: all must have one, or none"):
        model(**data, mode="loss")
    data["data_samples"][0].mask = masks[0].float()
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        model(**data, mode="loss")
    for sample in data["data_samples"]:
        sample.mask = torch.ones(4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="mask hides all of image 0"):
        model(**data, mode="loss")


def test_parts_by_name():
    model = built(
        mask={"type": "BlockUnits", "unit": 32, "ratio": 0.4},
        head={"type": "PretrainingHead", "decoder_depth": 1},
        target_generator={"type": "TargetGenerator", "targets": [{"type": "hog", "unit": 16}]},
        fill="token",
        neck={**NECK, "type": "FPN", "_scope_": "mmdet"},
    )
    assert type(model.mask).__name__ == "BlockUnits" and len(model.head.decoder) == 1 and model.token is not None
    assert model.neck_config["out_channels"] == 16 and list(model.target_generator.weights) == ["hog"]
    assert TASK_UTILS.get("RandomUnits") is not None
    teacher = {**BACKBONE, "type": "VWave"}
    model = built(target_generator=[{"type": "features", "teacher": teacher}])
    assert type(model.target_generator.features.teacher.net).__name__ == "VWave"
    with pytest.raises(ValueError, match="the neck has batch norms"):
        built(neck={**NECK, "norm_cfg": {"type": "BN"}})


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model._orig_mod."])
def test_weights_of_the_whole_by_init_cfg(prefix, tmp_path):
    torch.manual_seed(1)
    theirs = MODELS.build(config()).state_dict()
    content = {"state_dict": {f"{prefix}{name}": t for name, t in theirs.items()}, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "a.pth")
    model = MODELS.build(config(init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth"))))
    model.init_weights()
    assert all(torch.equal(t, theirs[name]) for name, t in model.state_dict().items())
    torch.save({"state_dict": {"conv1.weight": torch.ones(2)}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"the tensors of no network of this project \(conv1.weight\)"):
        model.init_weights()


def test_norms_are_those_of_the_dense_backbone():
    model = built()
    assert not model.head.norms and "backbone.out_norms.3.weight" in model.state_dict()
    model.eval()(torch.randn(1, 3, 64, 64), mode="tensor")[0].sum().backward()
    assert model.backbone.out_norms["0"].weight.grad.any()


def test_pictures(folder):
    model = built()
    images = torch.stack(batch(folder)["inputs"])
    mask = model.mask(2, (64, 64))
    found = model.reconstruct(images, mask=mask)
    seen = ~mask.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None].expand_as(found)
    torch.testing.assert_close(found[seen], images.float()[seen], atol=1e-3, rtol=0)


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler")
@pytest.mark.parametrize("accumulate, killed", [(1, 3), (2, 4)])
def test_a_resumed_run_is_the_unbroken_one(accumulate, killed, folder, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = {"accumulate": accumulate, "validate": True}
    runner(whole, folder, **options).train()
    with pytest.raises(toy_run.Killed):
        runner(broken, folder, **options, hooks=[toy_run.KillAt(step=killed)]).train()
    resumed = runner(broken, folder, **options, resume=True)
    resumed.train()
    files = [toy_run.read(f / "iter_6.pth") for f in (whole, broken)]
    toy_run.assert_same(*files)
    state = files[0]["state_dict"]
    assert int(state["steps"]) == 6 // accumulate and state["target_generator.features.spread_at_start"] > 0
    teacher = "target_generator.features.teacher.net."
    assert any(not torch.equal(t, state[n.replace(teacher, "backbone.")]) for n, t in state.items() if teacher in n)
    learned = {p for group in files[0]["optimizer"]["param_groups"] for p in group["params"]}
    assert (
        len(learned)
        == len(list(resumed.model.parameters()))
        == len(state) - len([n for n in state if n.startswith(("target_generator.", "steps"))])
    )
    published = [load_file(f / "pretrained.safetensors") for f in (whole, broken)]
    assert all(torch.equal(t, published[1][n]) for n, t in published[0].items())
    assert all(torch.equal(t, state[n]) for n, t in published[0].items())


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler")
@pytest.mark.parametrize("validate", [False, True])
def test_pictures_change_nothing_and_a_resumed_run_draws_the_same(validate, folder, tmp_path, monkeypatch):
    made, of_images = [], pretraining.ImageFolder.__init__
    monkeypatch.setattr(pretraining.ImageFolder, "__init__", lambda *a, **k: made.append(1) or of_images(*a, **k))
    plain, drawn, broken = (tmp_path / name for name in ("plain", "drawn", "broken"))
    options, pictures = {"iters": 4, "validate": validate}, {"type": "ReconstructionHook", "interval": 2, "images": 2}
    runner(plain, folder, **options).train()
    count = len(made)
    runner(drawn, folder, **options, hooks=[pictures]).train()
    assert len(made) == 2 * count  # no data set of its own, whose files would be looked at again
    with pytest.raises(toy_run.Killed):
        runner(broken, folder, **options, hooks=[pictures, toy_run.KillAt(step=3)]).train()
    runner(broken, folder, **options, hooks=[pictures], resume=True).train()
    for run in (drawn, broken):
        toy_run.assert_same(*(toy_run.read(f / "iter_4.pth") for f in (plain, run)))
    names = ["iter_0.png", "iter_2.png", "iter_4.png"]
    assert sorted(p.name for p in (broken / "reconstructions").iterdir()) == names
    first, last, again = (
        np.asarray(Image.open(run / "reconstructions" / name))
        for run, name in ((drawn, names[0]), (drawn, names[2]), (broken, names[2]))
    )
    assert first.shape == (2 * 64 + 4, 3 * 64 + 2 * 4, 3) and np.array_equal(last, again)
    assert not np.array_equal(first, last) and np.array_equal(first[:, :132], last[:, :132])
    grey = (first[:64, 68:132] == 127).all(-1)  # whole units of the second column, and what is seen is the first's
    assert grey.reshape(4, 16, 4, 16).all((1, 3)).sum() == grey.sum() / 256 == 10
    assert np.array_equal(first[:64, 68:132][~grey], first[:64, :64][~grey])
    differing = np.abs(first[:64, 136:].astype(int) - first[:64, :64]).max(-1) > 1
    assert differing.any() and not (differing & ~grey).any()


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler")
def test_weights_of_an_earlier_training_start_a_new_schedule(folder, tmp_path):
    """``load_from`` takes its count of updates along, by which a teacher would never follow again."""
    runner(tmp_path / "first", folder).train()
    start = toy_run.read(tmp_path / "first" / "iter_6.pth")["state_dict"]
    second = runner(tmp_path / "second", folder, iters=4)
    second._load_from = str(tmp_path / "first" / "iter_6.pth")
    second.train()
    state = second.model.state_dict()
    assert int(state["steps"]) == 4
    spread = "target_generator.features.spread_at_start"
    assert 0 < state[spread] != start[spread]
    name = "stem.conv1.weight"
    taught = state[f"target_generator.features.teacher.net.{name}"]
    assert not torch.equal(taught, start[f"target_generator.features.teacher.net.{name}"])
    assert not torch.equal(taught, start[f"backbone.{name}"])


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler")
def test_the_schedule_counts_updates(folder, tmp_path):
    run = runner(tmp_path, folder, iters=5, accumulate=2)
    run.train()
    assert run.model.total_steps == 3 and int(run.model.steps) == 3


@pytest.mark.sweep
def test_two_processes(tmp_path, root):
    (tmp_path / "images").mkdir()
    draw_images(tmp_path / "images")
    support = toy_pretraining.__file__
    paths = os.pathsep.join([str(root), os.path.dirname(support)])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", support, tmp_path]
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / f"{rank}.pth") for rank in (0, 1))
    differing = {name for name in one if not torch.equal(one[name], two[name])}
    assert differing <= {
        f"target_generator.features.{n}" for n in ("spread", "spread_at_start")
    }  # of each one's images
    assert int(one["steps"]) == 6 and (tmp_path / "work/pretrained.safetensors").exists()


def test_validation_and_log(folder, tmp_path):
    run = runner(tmp_path, folder, iters=3, validate=True)
    run.train()
    logged = run.message_hub.log_scalars
    assert {"val/pretraining/loss", "val/pretraining/loss_pixels", "train/loss_features"} <= set(logged)
    parts = [logged[f"val/pretraining/{n}"].current() for n in ("loss_pixels", "loss_features", "loss")]
    assert parts[2] == pytest.approx(parts[0] + parts[1]) and parts[0] > 0.1
    ranks = {name: logged[name].current() for name in logged if "rank_stride" in name}
    assert set(ranks) == {f"val/pretraining/rank_stride_{level.stride}" for level in run.model.head.outputs}
    weighted = dict.fromkeys(ranks, 0.0)
    for data in run.val_dataloader:
        maps = run.model(run.model.data_preprocessor(data, False)["inputs"], mode="tensor")
        for name, level in zip(ranks, run.model.head.outputs, strict=True):
            share = len(data["inputs"]) / len(run.val_dataloader.dataset)
            weighted[name] += share * float(effective_rank(maps[level.index]))
    assert ranks == pytest.approx(weighted, rel=1e-4)


def test_a_collapse_ends_the_run(folder, tmp_path):
    class Collapse(toy_run.Hook):
        priority = "VERY_HIGH"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 4:
                runner.model.target_generator.features.spread.mul_(0.1)

    with pytest.raises(TeacherCollapse, match="after 4 updates"):
        runner(tmp_path, folder, hooks=[Collapse()]).train()


def test_other_models_have_no_schedule(tmp_path):
    with pytest.raises(TypeError, match="PretrainingHook needs a model with schedule and after_update, got Toy"):
        toy_run.make(tmp_path, hooks=[{"type": "PretrainingHook"}]).train()


# -- the published file -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    model = built()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    path = tmp_path_factory.mktemp("published") / "pretrained.safetensors"
    publish(model, path)
    return path, load_file(path)


def detector(img_size=64, **neck):
    init_default_scope("mmdet")
    changes = {
        "neck": {"in_channels": WIDTHS, "out_channels": 16, "norm_cfg": None, **neck},
        "rpn_head": {"in_channels": 16},
    }
    cfg = small_config("mask-rcnn")
    cfg.model.backbone = {**BACKBONE, "img_size": img_size}
    cfg.merge_from_dict({"model": changes})
    for extractor in (cfg.model.roi_head.bbox_roi_extractor, cfg.model.roi_head.mask_roi_extractor):
        extractor.out_channels = 16
    cfg.model.roi_head.bbox_head.in_channels = cfg.model.roi_head.mask_head.in_channels = 16
    return cfg.model


def assert_holds(model, tensors, but=()):
    state = model.state_dict()
    for name, tensor in tensors.items():
        if not name.endswith(but or ("nothing",)):
            assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize("img_size", [64, 96])
def test_by_load_from(img_size, published, tmp_path):
    path, tensors = published
    run = toy_run.make(tmp_path, load_from=str(path))
    run.model = MODELS.build(detector(img_size))
    run._train_loop = run.build_train_loop(run._train_loop)  # training begins
    run.load_or_resume()
    assert_holds(run.model, tensors, but=() if img_size == 64 else ("embedding.weight",))
    assert run.model.backbone.stages[0].embedding.weight.shape[0] == img_size // 4
    torch.testing.assert_close(
        run.model.backbone.stages[0].embedding.weight.mean(),
        tensors["backbone.stages.0.embedding.weight"].mean(),
        atol=0.02,
        rtol=0,
    )


def test_load_from_the_file_of_another_network(published, tmp_path):
    wider = {**BACKBONE, "arch": {**BACKBONE["arch"], "dims": [WIDTHS[0], *(2 * n for n in WIDTHS[1:])]}}
    resnet = {"type": "TimmBackbone", "model_name": "resnet10t"}
    for name, model, words in (
        ("neck", MODELS.build(detector(out_channels=24)), r"has another neck than .*: of its \d+ tensors 0 have"),
        ("wider", nn.ModuleDict({"backbone": MODELS.build(wider)}), r"another backbone .*: of its \d+ tensors [1-9]"),
        ("resnet", nn.ModuleDict({"backbone": MODELS.build(resnet)}), "holds no parameter of this config's model"),
    ):
        run = toy_run.make(tmp_path / name, load_from=str(published[0]))
        run.model = model
        run._train_loop = run.build_train_loop(run._train_loop)
        with pytest.raises(ValueError, match=words):
            run.load_or_resume()


def test_a_backbone_of_a_registry_that_returns_its_maps(tmp_path):
    backbone = {"type": "TimmBackbone", "model_name": "resnet10t", "out_indices": (1, 2, 3, 4)}
    head, targets = {"type": "PretrainingHead", "decoder_dim": 8}, {"pixels": 1.0, "features": 1.0}
    model = MODELS.build(
        {"type": "MaskedPretraining", "backbone": backbone, "head": head, "target_generator": targets, "fill": "grey"}
    )
    model.schedule(4)
    losses = model(torch.randn(2, 3, 64, 64), mode="loss")
    assert losses.keys() == {"loss_pixels", "loss_features"} and losses["loss_pixels"] > 0
    publish(model, tmp_path / "published.safetensors")
    init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "published.safetensors")}
    net = MODELS.build({**backbone, "init_cfg": init_cfg})
    net.init_weights()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), model.backbone.parameters(), strict=True))


def test_by_init_cfg_of_backbone_and_neck(published, monkeypatch):
    path, tensors = published
    from mmengine.runner.checkpoint import CheckpointLoader

    monkeypatch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    read_safely()
    init = {"type": "Pretrained", "checkpoint": str(path)}
    cfg = detector(init_cfg={**init, "prefix": "neck."})
    cfg.backbone["init_cfg"] = {**init, "prefix": "backbone."}
    model = MODELS.build(cfg)
    model.init_weights()
    assert_holds(model, tensors)
    for prefix in ("backbone", None):
        cfg.backbone["init_cfg"] = {**init, **({} if prefix is None else {"prefix": prefix})}
        model = MODELS.build(cfg)
        model.init_weights()
        assert_holds(model, tensors)
    cfg.backbone["init_cfg"] = {**init, "prefix": "teacher."}
    with pytest.raises(ValueError, match=r"prefix='teacher\.': the file's networks have the prefixes \['backbone\.'\]"):
        MODELS.build(cfg).init_weights()


def test_a_segmentors_neck_has_the_same_names(published):
    import mmseg.models  # noqa: F401

    tensors = published[1]
    neck = MODELS.build({**NECK, "type": "FPN", "_scope_": "mmseg"})
    neck.load_state_dict({n[5:]: t for n, t in tensors.items() if n.startswith("neck.")})


def test_samples_without_anything():
    model = built().eval()
    assert len(model(torch.randn(2, 3, 64, 64), mode="predict")) == 2
    assert model(torch.randn(2, 3, 64, 64), [BaseDataElement()] * 2, mode="loss")["loss_pixels"] > 0
