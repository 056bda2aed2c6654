"""Checkpoints as training scripts in the wild write them: found, read safely and loaded by every entry point alike."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from backbones import convert_checkpoint, load_checkpoint, read_weights, to_official
from backbones.openmmlab import CLASSES


def _created(**options):
    return timm.create_model("vheat_nano", num_classes=3, img_size=64, **options)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return _created().requires_grad_(True)


@pytest.fixture(scope="module")
def average():
    torch.manual_seed(1)
    return _created()


def _behind(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


class _AttributeDict(dict):
    """What Lightning and others keep hyper-parameters in."""


def _trained(net):
    """The state of an optimizer and a scheduler after a step."""
    optimizer = torch.optim.AdamW(net.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    net(torch.randn(1, 3, 64, 64)).sum().backward()
    optimizer.zero_grad()
    return optimizer.state_dict(), scheduler.state_dict()


def _timm(net, average):
    """timm's train.py."""
    optimizer, _ = _trained(net)
    args = argparse.Namespace(model="vheat_nano", lr=0.1, out=Path("out"))
    file = {"epoch": 3, "arch": "vheat_nano", "state_dict": net.state_dict(), "optimizer": optimizer, "version": 2}
    return file | {"args": args, "amp_scaler": {"scale": 1.0}, "metric": 50.0, "state_dict_ema": average.state_dict()}


def _torchvision(net, average):
    """torchvision's references: the average is an AveragedModel of a DistributedDataParallel."""
    optimizer, scheduler = _trained(net)
    ema = {"n_averaged": torch.tensor(5), **_behind("module.module.", average.state_dict())}
    file = {"model": _behind("module.", net.state_dict()), "optimizer": optimizer, "lr_scheduler": scheduler}
    return file | {"epoch": 3, "args": argparse.Namespace(lr=0.1), "model_ema": ema}


def _lightning(attribute):
    def write(net, average):
        optimizer, scheduler = _trained(net)
        callbacks = {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5), "dirpath": "x"}}
        return {
            "epoch": 3,
            "global_step": 10,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": {**_behind(attribute, net.state_dict()), "loss.weight": torch.ones(3)},
            "callbacks": callbacks,
            "optimizer_states": [optimizer],
            "lr_schedulers": [scheduler],
            "hyper_parameters": _AttributeDict(lr=0.1, where=Path("x")),
        }

    return write


def _example(net, average):
    """PyTorch's ImageNet example."""
    optimizer, scheduler = _trained(net)
    file = {"epoch": 3, "arch": "vheat_nano", "state_dict": _behind("module.", net.state_dict())}
    return file | {"best_acc1": torch.tensor(50.0), "optimizer": optimizer, "scheduler": scheduler}


def _detector(net, average):
    """mmengine, with its EMA hook: the average takes the model's place."""
    head = {"bbox_head.weight": torch.zeros(3), "neck.convs.0.weight": torch.zeros(3)}
    ema = {**_behind("module.backbone.", net.state_dict()), "steps": torch.tensor(5)}
    return {"state_dict": {**_behind("backbone.", average.state_dict()), **head}, "ema_state_dict": ema, "meta": {}}


WRITERS = {
    "state dict": lambda net, average: net.state_dict(),
    "DDP": lambda net, average: _behind("module.", net.state_dict()),
    "compile": lambda net, average: _behind("_orig_mod.", net.state_dict()),
    "compiled DDP": lambda net, average: {"model": _behind("_orig_mod.module.", net.state_dict())},
    "official": lambda net, average: {"model": to_official(net.state_dict()), "config": _AttributeDict(a=1)},
    "PyTorch's example": _example,
    "timm": _timm,
    "torchvision": _torchvision,
    "Lightning, model": _lightning("model."),
    "Lightning, net": _lightning("net._orig_mod."),
    "Lightning, a wrapper": _lightning("classifier.timm_model."),
    "mmengine": _detector,
    "DeepSpeed": lambda net, average: {"module": _behind("module.", net.state_dict()), "dp_world_size": 8},
    "Composer": lambda net, average: {"state": {"model": _behind("module.model.", net.state_dict()), "seed": 1}},
    "accelerate": lambda net, average: _behind("module._orig_mod.", net.state_dict()),
}


def _averaging(net, average):
    """Lightning's WeightAveraging callbacks: the average takes the model's place."""
    return {
        "state_dict": _behind("model.", average.state_dict()),
        "current_model_state": _behind("model.", net.state_dict()),
    }


def _stochastic_averaging(net, average):
    callbacks = {"StochasticWeightAveraging": {"average_model_state": _behind("model.", average.state_dict())}}
    return {"state_dict": _behind("model.", net.state_dict()), "callbacks": callbacks}


WRITERS |= {"Lightning, averaging": _averaging, "Lightning, SWA": _stochastic_averaging}
AVERAGED = ("Lightning, averaging", "Lightning, SWA", "timm", "torchvision", "mmengine")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def _write(path, name, net, average):
    content = WRITERS[name](net, average)
    if name == "accelerate":
        path = path.with_suffix(".safetensors")
        save_file({k: t.clone() for k, t in content.items()}, path)
    else:
        torch.save(content, path)
    return path


def _load(model, path):
    load_checkpoint(model, path)
    return model


ENTRIES = {
    "load_checkpoint": lambda path: _load(_created(), path),
    "overlay": lambda path: _created(pretrained=True, pretrained_cfg_overlay={"file": str(path)}),
    "init_cfg": lambda path: _initialised(
        CLASSES["VHeat"]("nano", img_size=64, init_cfg=dict(type="Pretrained", checkpoint=str(path)))
    ),
}


def _initialised(model):
    model.init_weights()
    return model


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("writer", WRITERS)
def test_weights_are_found(writer, entry, path, net, average):
    path = _write(path, writer, net, average)
    loaded, state = ENTRIES[entry](path), net.state_dict()
    shared = {name: t for name, t in loaded.state_dict().items() if not name.startswith("out_norms.")}
    assert len(shared) >= len(state) - 4 and all(torch.equal(t, state[name]) for name, t in shared.items())


@pytest.mark.parametrize("writer", AVERAGED)
def test_the_average_is_told_from_the_weights(writer, path, net, average):
    _write(path, writer, net, average)
    state = read_weights(path, "ema")[0]
    assert all(torch.equal(t, state[name]) for name, t in average.state_dict().items())


@pytest.mark.parametrize("writer", ["DDP", "compile", "Lightning, net"])
def test_convert_checkpoint_knows_the_prefixes(writer, net, average):
    content = WRITERS[writer](net, average)
    official = {
        f"{writer}.{name}": t for name, t in to_official(net.state_dict()).items()
    }  # any prefix at all, as a state dict
    converted = convert_checkpoint(official)
    assert not converted.missing and not converted.unexpected and len(content) > 0
    assert all(torch.equal(t, converted.state_dict[name]) for name, t in net.state_dict().items())


@pytest.mark.parametrize("writer", ["timm", "Lightning, net"])
def test_the_tool_converts_them(writer, path, net, average, root):
    path, out = _write(path, writer, net, average), path.with_name("out.safetensors")
    command = [sys.executable, str(root / "tools/convert_checkpoint.py"), str(path), str(out)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert all(torch.equal(t, net.state_dict()[name]) for name, t in read_weights(out)[0].items())


def test_several_networks_are_not_guessed_between(path, net, average):
    torch.save({"student": net.state_dict(), "teacher": {"state": _behind("backbone.", average.state_dict())}}, path)
    with pytest.raises(ValueError, match=r"several networks \(raw in student, teacher.state under 'backbone.'\)"):
        read_weights(path)
    torch.save({"model_ema": average.state_dict()}, path)
    with pytest.raises(ValueError, match=r"weights='raw': the file holds no such weights \(ema in model_ema\)"):
        read_weights(path)


class _Own:
    """A tensor class of somebody's library."""


def test_weights_that_need_an_unknown_class_are_an_error(path, net):
    state = dict(net.state_dict())
    state["stages.1.blocks.0.mlp.fc1.weight"] = _Own()
    torch.save({"model": state}, path)
    with pytest.raises(ValueError, match=r"stages.1.blocks.0.mlp.fc1.weight of its weights is a pickled .*_Own"):
        read_weights(path)


def test_a_file_without_a_network_says_what_it_holds(path):
    torch.save({"model": {"module.blocks.0.attn.qkv.weight": torch.zeros(2, 2)}}, path)
    with pytest.raises(ValueError, match=r"no network of this project \(module.blocks.0.attn.qkv.weight\)"):
        read_weights(path)
