"""How fast a machine is at what networks consist of: products by both libraries, and copies."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.case import inference
from benchmarks.measuring import Run, alternate

#: Maps and widths of the first linear of an MLP: one of many rows, and one of many weights.
PRODUCTS = (((4, 56, 56, 96), 384), ((1, 7, 7, 768), 3072))
COPIED = 2**28


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight)


def _convolution(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x.permute(0, 3, 1, 2), weight[:, :, None, None])


def _copy(source: Tensor, target: Tensor) -> Tensor:
    return target.copy_(source)


def calibrate(device: torch.device, rounds: int = 5, seconds: float = 0.05) -> dict[str, float]:
    """GFLOP/s of products ``rows x width`` by ``width x outputs``, and GB/s of a copy, read and written.

    In float32 ``linear`` is the library of matrix products, MKL on x86, ``convolution`` oneDNN. A multiplication and
    an addition are two operations. bfloat16 is left out where oneDNN cannot use it.
    """
    dtypes = [torch.float32]
    if device.type != "cpu" or (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        dtypes.append(torch.bfloat16)
    runs: dict[str, Run] = {}
    operations = {}
    for dtype in dtypes:
        for shape, outputs in PRODUCTS:
            x = torch.randn(shape, device=device).to(dtype)
            weight = torch.randn(outputs, shape[-1], device=device).to(dtype)
            for name, product in (("linear", _linear), ("convolution", _convolution)):
                rows = x.numel() // shape[-1]
                title = f"{name}, {rows} x {shape[-1]} to {outputs}, {str(dtype).removeprefix('torch.')}, GFLOP/s"
                runs[title] = inference(partial(product, x, weight), False, device)
                operations[title] = 2 * rows * weight.numel()
    source, target = (torch.ones(COPIED // 4, device=device) for _ in range(2))
    title = f"copy of {COPIED >> 20} MiB, GB/s"
    runs[title] = inference(partial(_copy, source, target), False, device)
    operations[title] = 2 * COPIED
    found = alternate(runs, device, rounds, seconds)
    return {name: float(f"{operations[name] / figure.milliseconds / 1e6:.3g}") for name, figure in found.items()}
