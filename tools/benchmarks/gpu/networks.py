"""vHeat beside Swin and its public formulation: CUDA graphs, inference, training, large images."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import backbones  # noqa: F401 - registers the models
from backbones.network import stage_sizes
from benchmarks.gpu.measuring import DEVICE, Row, captured, compare, fused, switched
from benchmarks.public import PublicVHeat


def images(batch: int, size: int) -> Tensor:
    return torch.randn(batch, 3, size, size, device=DEVICE)


def network(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, **options).to(DEVICE)


def inferred(net: nn.Module, x: Tensor, cache: bool = True) -> Tensor:
    with torch.inference_mode(), torch.autocast(DEVICE, torch.bfloat16, cache_enabled=cache):
        return net(x)  # type: ignore[no-any-return]


def step(net: nn.Module, x: Tensor) -> Callable[[], None]:
    """One training step: loss, gradients, AdamW."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    labels = torch.randint(0, 1000, (len(x),), device=DEVICE)

    def run() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = F.cross_entropy(net(x), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return run


def tabulate(calls: dict[str, Callable[[], object]], batch: int, **columns: Any) -> list[Row]:
    """One row per network: the columns given, its speed and its memory."""
    return [
        {"network": name, "batch": batch, **columns, "images/s": 1000 * batch / row["ms"], **row}
        for name, row in compare(calls).items()
    ]


def graphs(batch: int) -> list[Row]:
    """vHeat-T's inference call by call and as a CUDA graph, which also shows that nothing in it waits for the host."""
    rows: list[Row] = []
    net = network("vheat_tiny").eval()
    net.reparameterize([224])
    for count, on in itertools.product((1, batch), (False, True)):
        x, last = images(count, 224), {}

        def call(x: Tensor = x, last: dict[str, Tensor] = last) -> None:
            last["y"] = inferred(net, x, cache=False)

        with fused(on):
            call()
            expected = last["y"].clone()
            replay = captured(call)
            replay()
            difference = float((last["y"] - expected).abs().max())
        calls = {"call by call": switched(call, on), "CUDA graph": replay}
        rows += tabulate(calls, count, fused=on, difference=difference)
    return rows


def inference(batch: int) -> list[Row]:
    """Classification at 224 px."""
    rows: list[Row] = []
    x = images(batch, 224)
    for size in ("tiny", "small", "base"):
        physics, stored = (network(f"vheat_{size}").eval() for _ in range(2))
        public = PublicVHeat(physics).to(DEVICE).eval()
        stored.reparameterize([224])
        public.precompute(stage_sizes(224))
        swin = network(f"swin_{size}_patch4_window7_224").eval()
        calls: dict[str, Callable[[], object]] = {
            f"vheat_{size}": switched(partial(inferred, physics, x), False),
            f"vheat_{size}, gains stored": switched(partial(inferred, stored, x), False),
            f"vheat_{size}, gains stored, fused": switched(partial(inferred, stored, x), True),
            f"public vheat_{size}, gains stored": partial(inferred, public, x),
            f"swin_{size}": partial(inferred, swin, x),
        }
        rows += tabulate(calls, batch)
    return rows


def training(batch: int) -> list[Row]:
    """A training step at 224 px."""
    rows: list[Row] = []
    x = images(batch, 224)
    for size in ("tiny", "small", "base"):
        own = network(f"vheat_{size}").train()
        public = PublicVHeat(own).to(DEVICE).train()
        swin = network(f"swin_{size}_patch4_window7_224", drop_path_rate=0.0).train()
        steps = step(own, x)
        calls: dict[str, Callable[[], object]] = {
            f"vheat_{size}": switched(steps, False),
            f"vheat_{size}, fused": switched(steps, True),
            f"public vheat_{size}": step(public, x),
            f"swin_{size}": step(swin, x),
        }
        rows += tabulate(calls, batch)
    return rows


def large(batch: int) -> list[Row]:
    """Inference and a training step at 1024 px, batches an eighth and a thirty-second of the others."""
    rows: list[Row] = []
    own = network("vheat_base", img_size=1024)
    swins = {
        f"swin_base, window {window}": network(
            "swin_base_patch4_window7_224", img_size=1024, window_size=window, drop_path_rate=0.0
        )
        for window in (7, 32)
    }
    many, few = images(max(1, batch // 8), 1024), images(max(1, batch // 32), 1024)
    for net in (own, *swins.values()):
        net.eval()
    calls: dict[str, Callable[[], object]] = {"vheat_base": switched(partial(inferred, own, many), False)}
    calls["vheat_base, fused"] = switched(partial(inferred, own, many), True)
    calls |= {name: partial(inferred, net, many) for name, net in swins.items()}
    rows += tabulate(calls, len(many), what="inference")
    for net in (own, *swins.values()):
        net.train()
    steps = step(own, few)
    calls = {"vheat_base": switched(steps, False), "vheat_base, fused": switched(steps, True)}
    calls |= {name: step(net, few) for name, net in swins.items()}
    return rows + tabulate(calls, len(few), what="training step")
