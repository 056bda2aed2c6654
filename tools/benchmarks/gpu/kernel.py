"""The fused kernel's numbers and its speed."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import STAGES
from benchmarks.gpu.measuring import CACHE, DEVICE, Row, bandwidth, captured, compare, fused, switched
from spectral_ops import apply_gain

#: Largest error relative to the norm of the exact result. TF32 has the precision of float16.
LIMITS = {torch.bfloat16: 1e-2, torch.float16: 1e-3, torch.float32: 1e-3}


def parity(batch: int) -> list[Row]:
    """Values and gradients against float64, from outputs filled with nan; an error above its limit ends the program."""
    from spectral_ops import _fused_triton

    taken, original = [0], _fused_triton.apply

    def counted(*tensors: Tensor) -> Tensor:
        taken[0] += 1
        return original(*tensors)

    def outcome(x: Tensor, gain: Tensor, weight: Tensor, boundary: Any) -> list[Tensor]:
        x, gain = x.detach().requires_grad_(), gain.detach().requires_grad_()
        y = apply_gain(x, gain, (1, 2), boundary=boundary)
        return [y.detach(), *torch.autograd.grad((y * weight).sum(), (x, gain))]

    rows: list[Row] = []
    shapes = [(3, 7, 7, 17), (3, 14, 14, 384), (11, 13, 9, 5), (9, 28, 28, 192), (2, 1, 33, 3), (9, 56, 56, 96)]
    shapes += [(2, 64, 64, 40), (2, 64, 17, 9)]
    _fused_triton.apply = counted
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills what torch.empty returns with nan
    for shape, boundary, dtype in itertools.product(shapes, ("neumann", "dirichlet"), LIMITS):
        x, weight = (torch.randn(shape, device=DEVICE).to(dtype) for _ in range(2))
        gain = torch.randn(shape[1:], device=DEVICE)
        with fused(False):
            exact = outcome(x.double(), gain.double(), weight.double(), boundary)
            plain = outcome(x, gain, weight, boundary)
        before = taken[0]
        with fused(True):
            values = outcome(x, gain, weight, boundary)
        row: Row = {"shape": "x".join(map(str, shape)), "boundary": boundary, "dtype": str(dtype)[6:]}
        for found, kind in ((values, "fused"), (plain, "products")):
            for name, value, truth in zip(("y", "grad x", "grad gain"), found, exact, strict=True):
                row[f"{kind} {name}"] = float((value.double() - truth).norm() / truth.norm())
        worst = max(row[f"fused {name}"] for name in ("y", "grad x", "grad gain"))
        finite = all(math.isfinite(row[f"fused {name}"]) for name in ("y", "grad x", "grad gain"))
        row["ok"] = finite and worst < LIMITS[dtype] and taken[0] == before + 2
        rows.append(row)
    torch.use_deterministic_algorithms(False)
    _fused_triton.apply = original
    return rows


def operators(batch: int) -> list[Row]:
    """The operator on maps of vHeat-T in bfloat16, as CUDA graphs over inputs that together exceed the cache."""
    from spectral_ops import _fused_triton

    rate = bandwidth()
    rows: list[Row] = []
    for side, channels in STAGES:
        shape = (batch, side, side, channels)
        gain = torch.rand(shape[1:], device=DEVICE, requires_grad=True)
        size = 2 * math.prod(shape)
        fields = [
            torch.randn(shape, device=DEVICE).bfloat16().requires_grad_() for _ in range(max(4, CACHE // size + 1))
        ]
        weight = torch.randn_like(fields[0])

        def forward(fields: list[Tensor] = fields, gain: Tensor = gain) -> None:
            with torch.no_grad():
                for x in fields:
                    apply_gain(x, gain, (1, 2))

        def both(fields: list[Tensor] = fields, gain: Tensor = gain, weight: Tensor = weight) -> None:
            for x in fields:
                torch.autograd.grad(apply_gain(x, gain, (1, 2)), (x, gain), weight)

        # Read x and the gain, write y; then read x, y's gradient and the gain, write both gradients.
        for name, call, moved in (
            ("forward", forward, 2 * size + gain.nbytes),
            ("forward and backward", both, 5 * size + 3 * gain.nbytes),
        ):
            calls = {kind: captured(switched(call, kind == "fused")) for kind in ("products", "fused")}
            _fused_triton.TILE *= 2
            calls["fused, twice the tile"] = captured(switched(call, True))
            _fused_triton.TILE //= 2
            floor = 1000 * moved / rate
            row: Row = {"map": f"{batch}x{side}x{side}x{channels}", "pass": name, "floor (ms)": floor}
            for kind, found in compare(calls).items():
                row[f"{kind} (ms)"] = found["ms"] / len(fields)
                row[f"{kind} / floor"] = found["ms"] / len(fields) / floor
            rows.append(row)
    return [{**row, "copy (GB/s)": rate / 1e9} for row in rows]
