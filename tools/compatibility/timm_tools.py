"""What timm's scripts and utilities do with a model."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import timm
import torch
from timm.models import group_parameters, load_checkpoint, model_parameters, resume_checkpoint, save_for_hf
from timm.optim import create_optimizer_v2
from timm.utils import CheckpointSaver, ModelEmaV3, dispatch_clip_grad, freeze, reparameterize_model, unfreeze
from timm.utils.model import avg_sq_ch_mean, extract_spp_stats
from timm.utils.onnx import onnx_export
from torch import nn

from compatibility.subject import CLASSES, Check, Subject, close

__all__ = ["CHECKS"]


@torch.no_grad()
def reparameterize(subject: Subject) -> None:
    """`reparameterize_model`: a model, `features_only`, inside another module (validate.py `--reparam`)"""
    x = subject.images()
    for net in (subject.net(), subject.net(features_only=True).eval(), nn.Sequential(subject.net())):
        close(reparameterize_model(net)(x), net(x))


def features(subject: Subject) -> None:
    """`features_only` by getter, list, dictionary, hooks and fx"""
    x, expected = subject.images(64, 96), None
    for kind in ("getter", "list", "dict", "hook", "fx"):
        options = {} if kind == "getter" else {"feature_cls": kind}
        maps = subject.net(features_only=True, **options).eval()(x)
        maps = list(maps.values()) if isinstance(maps, dict) else list(maps)
        sizes = [sorted(m.shape[1:]) for m in maps]  # channels first from getters, as the modules have them from others
        assert expected in (None, sizes), f"{kind}: {sizes}, not {expected}"
        expected = sizes


def freezing(subject: Subject) -> None:
    """`freeze` and `unfreeze` of submodules"""
    net = subject.net()
    stem = next(name for name, _ in net.named_children())
    freeze(net, [stem])
    assert not any(p.requires_grad for p in net.get_submodule(stem).parameters())
    unfreeze(net, [stem])
    assert all(p.requires_grad for p in net.parameters())


def training(subject: Subject) -> None:
    """train.py: optimizers by name, layer decay, adaptive clipping, moving average, gradient checkpointing"""
    net = subject.net().train()
    net.set_grad_checkpointing()
    ema = ModelEmaV3(net, decay=0.5)
    optimizer = create_optimizer_v2(net, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.75)
    assert len({group["lr_scale"] for group in optimizer.param_groups}) > 3
    nn.functional.cross_entropy(net(subject.images()), torch.tensor([0, 1])).backward()
    assert all(p.grad is not None for p in net.parameters())
    dispatch_clip_grad(model_parameters(net, exclude_head=True), 0.01, mode="agc")
    optimizer.step()
    ema.update(net)
    before, after, average = subject.net().state_dict(), net.state_dict(), ema.module.state_dict()
    name = next(n for n, t in before.items() if t.is_floating_point() and not torch.equal(t, after[n]))
    close(average[name], (before[name] + after[name]) / 2)


def groups(subject: Subject) -> None:
    """`group_parameters` takes every parameter once"""
    net = subject.net()
    found = group_parameters(net, net.group_matcher(), reverse=True)
    assert sorted(found) == sorted(name for name, _ in net.named_parameters())


def checkpoints(subject: Subject) -> None:
    """`CheckpointSaver`, `resume_checkpoint`, `load_checkpoint` of weights and average, `checkpoint_path=`"""
    net, args = subject.net(), argparse.Namespace(model=subject.name, lr=0.1)
    ema = ModelEmaV3(net)
    for p in ema.module.parameters():
        p.data.add_(1.0)
    optimizer = create_optimizer_v2(net, opt="sgd", lr=0.1)
    with tempfile.TemporaryDirectory() as folder:
        CheckpointSaver(net, optimizer, args, ema, checkpoint_dir=folder, recovery_dir=folder).save_checkpoint(3, 50.0)
        path = str(Path(folder) / "last.pth.tar")
        other = subject.net()
        nn.init.zeros_(next(other.parameters()))
        assert resume_checkpoint(other, path, log_info=False) == 4
        assert all(torch.equal(t, other.state_dict()[n]) for n, t in net.state_dict().items())
        for use_ema, source in ((False, net), (True, ema.module)):
            load_checkpoint(other, path, use_ema=use_ema)
            assert all(torch.equal(t, other.state_dict()[n]) for n, t in source.state_dict().items())
        opened = subject.net(checkpoint_path=path)
        assert all(torch.equal(t, opened.state_dict()[n]) for n, t in ema.module.state_dict().items())


def hub_folder(subject: Subject) -> None:
    """`save_for_hf`, and `create_model("local-dir:...", pretrained=True)`"""
    net = subject.net()
    with tempfile.TemporaryDirectory() as folder:
        save_for_hf(net, folder)
        opened = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert all(torch.equal(t, opened.state_dict()[n]) for n, t in net.state_dict().items())


def transfer(subject: Subject) -> None:
    """Weights of a file (`pretrained_cfg_overlay`) for other classes and other channels"""
    net = subject.net()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/weights.pth"
        torch.save(net.state_dict(), path)
        cfg = {"file": path, "num_classes": CLASSES}
        channels = {} if "modalities" in subject.options else {"in_chans": 1}  # those of modalities are fixed
        other = subject.net(pretrained=True, pretrained_cfg_overlay=cfg, num_classes=3, **channels)
    name = next(n for n, p in net.named_parameters() if p.ndim == 1)
    assert torch.equal(other.state_dict()[name], net.state_dict()[name])
    assert other(subject.images()[:, : other.in_chans]).shape == (2, 3)


def statistics(subject: Subject) -> None:
    """`extract_spp_stats`: hooks on the stages"""
    net = subject.net()
    at = [info["module"] for info in net.feature_info]
    found = extract_spp_stats(net, at, [avg_sq_ch_mean] * len(at), input_shape=[8, subject.channels, 64, 64])
    assert len(found["avg_sq_ch_mean"]) >= len(at)


def data_config(subject: Subject) -> None:
    """`resolve_model_data_config` and `create_transform` (inference.py)"""
    config = timm.data.resolve_model_data_config(subject.net())
    assert timm.data.create_transform(**config) and config["input_size"][0] == subject.channels


@torch.no_grad()
def onnx(subject: Subject) -> None:
    """`timm.utils.onnx.onnx_export`, sizes and batch dynamic, read by ONNX Runtime (onnx_export.py)"""
    import onnxruntime

    net, x = subject.net(), subject.images()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/net.onnx"
        onnx_export(net, path, example_input=x, input_size=(subject.channels, 64, 64), dynamic_size=False, batch_size=2)
        session = onnxruntime.InferenceSession(path)
        found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    close(torch.from_numpy(found), net(x), 1e-3)


@torch.no_grad()
def layouts_and_dtypes(subject: Subject) -> None:
    """validate.py: `--channels-last`, `--amp`, `--model-dtype bfloat16`"""
    net, x = subject.net(), subject.images()
    expected = net(x)
    close(net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last)), expected)
    with torch.autocast("cpu", torch.bfloat16):
        close(net(x).float(), expected, 0.1)
    close(net.bfloat16()(x.bfloat16()).float(), expected, 0.1)


CHECKS: list[Check] = [reparameterize, features, freezing, training, groups, checkpoints, hub_folder, transfer]
CHECKS += [statistics]
CHECKS += [data_config, onnx, layouts_and_dtypes]
