"""PEFT, accelerate, and, where they are installed, converters and counters of others."""

from __future__ import annotations

import copy
import importlib
import tempfile
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compatibility.subject import Check, Subject, close, linears

__all__ = ["CHECKS", "NotInstalled"]


class NotInstalled(Exception):
    """A tool that cannot be checked here."""


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotInstalled(name) from error


def lora(subject: Subject) -> None:
    """PEFT: LoRA with `target_modules="all-linear"` learns in every layer, merges, unloads"""
    peft, x = _import("peft"), subject.images()
    config = peft.LoraConfig(target_modules="all-linear", r=2, init_lora_weights=False)
    model = peft.get_peft_model(subject.net(), config).train()
    model(x).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, f"without gradient: {without[:3]}"
    expected = model.eval()(x)
    close(model.merge_and_unload()(x), expected, 1e-3)


@torch.no_grad()
def offloading(subject: Subject) -> None:
    """accelerate: `cpu_offload` and `disk_offload`"""
    accelerate, x = _import("accelerate"), subject.images()
    net = subject.net()
    with tempfile.TemporaryDirectory() as folder:
        for offload, options in ((accelerate.cpu_offload, {}), (accelerate.disk_offload, {"offload_dir": folder})):
            away = offload(copy.deepcopy(net), execution_device="cpu", **options)
            assert all(p.is_meta for layer in linears(away).values() for p in layer.parameters())
            close(away(x), net(x), 1e-6)


@torch.no_grad()
def onnx(subject: Subject) -> None:
    """`torch.onnx.export(dynamo=True)` with any batch, read by ONNX Runtime"""
    runtime = _import("onnxruntime")
    net, x = subject.net(), subject.images()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/net.onnx"
        shapes = ({0: torch.export.Dim.DYNAMIC},)
        torch.onnx.export(net, (x,), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
        session, more = runtime.InferenceSession(path), subject.images(batch=3)
        found = session.run(None, {session.get_inputs()[0].name: more.numpy()})[0]
    close(torch.from_numpy(found), net(more), 1e-3)


@torch.no_grad()
def openvino(subject: Subject) -> None:
    """OpenVINO's `convert_model`, by TorchScript"""
    openvino = _import("openvino")
    net, x = subject.net(), subject.images()
    precision = {"INFERENCE_PRECISION_HINT": "f32"}  # on some CPUs it takes bfloat16 by itself
    model = openvino.compile_model(openvino.convert_model(net, example_input=x), "CPU", precision)
    close(torch.from_numpy(model(x.numpy())[0].copy()), net(x), 1e-3)


def _products(net: nn.Module, x: torch.Tensor) -> int:
    """Multiply-accumulates of linears and convolutions, by what is dispatched."""
    with FlopCounterMode(display=False) as flops:
        net(x)
    counts: dict[Any, int] = flops.get_flop_counts()["Global"]
    operators = (torch.ops.aten.addmm, torch.ops.aten.mm, torch.ops.aten.convolution)
    return sum(counts.get(operator, 0) for operator in operators) // 2


def _counts(found: float, expected: int) -> None:
    assert 0.9 * expected < found < 1.35 * expected, f"{found:.4g} of {expected:.4g}"  # some count norms, transforms


def thop(subject: Subject) -> None:
    """thop counts the multiply-accumulates of linears and convolutions"""
    net, x = subject.net(), subject.images(batch=1)
    _counts(_import("thop").profile(copy.deepcopy(net), inputs=(x,), verbose=False)[0], _products(net, x))


def torchinfo(subject: Subject) -> None:
    """torchinfo, likewise"""
    net, x = subject.net(), subject.images(batch=1)
    _counts(_import("torchinfo").summary(net, input_data=x, verbose=0).total_mult_adds, _products(net, x))


def ptflops(subject: Subject) -> None:
    """ptflops, likewise"""
    net, x = subject.net(), subject.images(batch=1)
    found = _import("ptflops").get_model_complexity_info(
        net, (subject.channels, 64, 64), as_strings=False, print_per_layer_stat=False, backend="pytorch", verbose=False
    )
    _counts(found[0], _products(net, x))


def fvcore(subject: Subject) -> None:
    """fvcore, likewise"""
    net, x = subject.net(), subject.images(batch=1)
    analysis = _import("fvcore.nn").FlopCountAnalysis(net, x)
    _counts(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total(), _products(net, x))


CHECKS: list[Check] = [lora, offloading, onnx, openvino, thop, torchinfo, ptflops, fvcore]
