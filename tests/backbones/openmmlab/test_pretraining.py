"""Masked pre-training in mmengine: modes, data, resumed runs, and the published file in detectors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import toy_run
from mmengine.registry import DATASETS, MODELS, TASK_UTILS, init_default_scope
from mmengine.structures import BaseDataElement
from PIL import Image
from safetensors.torch import load_file
from small_dense import small_config

from backbones.openmmlab import read_safely
from backbones.openmmlab.runner import SafeRunner
from backbones.pretraining import TeacherCollapse, publish

WIDTHS = [8, 12, 16, 20]
BACKBONE = {"type": "VHeat", "arch": {"dims": WIDTHS, "depths": (1, 1, 1, 1), "init_std": None}, "img_size": 64}
NECK = {"type": "mmdet.FPN", "in_channels": WIDTHS, "out_channels": 16, "num_outs": 5}
RUNS = itertools.count()


def config(**options):
    return {
        "type": "MaskedPretraining",
        "backbone": BACKBONE,
        "neck": NECK,
        "target_generator": {"pixels": 1.0, "features": 1.0},
        "mask": {"type": "RandomUnits", "unit": 16, "ratio": 0.6},
        **options,
    }


def built(seed=0, **options):
    torch.manual_seed(seed)
    model = MODELS.build(config(**options))
    model.init_weights()
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i in range(11):
        noise = np.random.default_rng(i).normal(0, 20, (80, 90, 3)) + np.linspace(0, 200, 90)[:, None]
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
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


def runner(folder, data, *, iters=6, resume=False, hooks=(), accumulate=1, lr=1e-3, validate=False, **options):
    torch.manual_seed(0)
    loader = {"batch_size": 4, "num_workers": 0, "collate_fn": {"type": "pseudo_collate"}}
    images = {"type": "ImageFolder", "data_root": str(data), "size": 64}
    validation = {
        "val_dataloader": {
            **loader,
            "dataset": {**images, "train": False},
            "sampler": {"type": "DefaultSampler", "shuffle": False},
        },
        "val_cfg": {},
        "val_evaluator": {"type": "PretrainingLoss"},
    }
    return SafeRunner(
        model=config(**options),
        work_dir=str(folder),
        train_dataloader={**loader, "dataset": images, "sampler": {"type": "InfiniteSampler", "shuffle": True}},
        train_cfg={"by_epoch": False, "max_iters": iters, "val_interval": 3 if validate else 1000},
        optim_wrapper={
            "type": "OptimWrapper",
            "optimizer": {"type": "AdamW", "lr": lr, "betas": (0.9, 0.95), "weight_decay": 0.05},
            "accumulative_counts": accumulate,
        },
        param_scheduler={"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 6},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False, "max_keep_ckpts": 2}},
        custom_hooks=[{"type": "PretrainingHook", "source": "noise"}, *hooks],
        resume=resume,
        randomness={"seed": 0},
        experiment_name=f"pretraining-{next(RUNS)}",
        log_level="ERROR",
        **(validation if validate else {}),
    )


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
def test_the_schedule_counts_updates(folder, tmp_path):
    run = runner(tmp_path, folder, iters=5, accumulate=2)
    run.train()
    assert run.model.total_steps == 3 and int(run.model.steps) == 3


def test_validation_and_log(folder, tmp_path):
    run = runner(tmp_path, folder, iters=3, validate=True)
    run.train()
    logged = run.message_hub.log_scalars
    assert {"val/pretraining/loss", "val/pretraining/loss_pixels", "train/loss_features"} <= set(logged)
    parts = [logged[f"val/pretraining/{n}"].current() for n in ("loss_pixels", "loss_features", "loss")]
    assert parts[2] == pytest.approx(parts[0] + parts[1]) and parts[0] > 0.1


def test_a_collapse_ends_the_run(folder, tmp_path):
    class Collapse(toy_run.Hook):
        priority = "VERY_HIGH"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 2:
                runner.model.target_generator.features.spread.mul_(0.1)

    with pytest.raises(TeacherCollapse, match="after 2 updates"):
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
