"""Check and measure on a CUDA GPU: the fused kernel, CUDA graphs, and vHeat beside Swin and its public formulation.

    python tools/benchmark_gpu.py [--sections parity operator ...] [--out work_dirs/benchmark_gpu] [--minutes 8]

Needs torch, Triton and timm, and a GPU of compute capability 8.0 or newer; about 100 GB of its memory for all sections
as they stand (--batch makes it less). `parity` always runs first, and if the kernel's numbers are wrong nothing is
measured. A section that fails is recorded and the others go on; none is begun after --minutes. Writes results.json and
prints Markdown tables. Times are medians of alternating rounds, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import backbones  # noqa: E402, F401 - registers the models
from backbones.network import stage_sizes  # noqa: E402
from spectral_ops import apply_gain, operator  # noqa: E402

DEVICE = "cuda"
ROUNDS = 3
SECONDS = 0.4  # per measurement
CACHE = 2**28  # bytes, more than the L2 cache holds
#: Side and width of the maps of vHeat-T at 224 px.
STAGES = [(56, 96), (28, 192), (14, 384), (7, 768)]
#: Largest error relative to the norm of the exact result. TF32 has the precision of float16.
LIMITS = {torch.bfloat16: 1e-2, torch.float16: 1e-3, torch.float32: 1e-3}

Row = dict[str, Any]


# -- measuring ---------------------------------------------------------------------------------------------------------


@contextmanager
def fused(on: bool) -> Iterator[None]:
    """Turn the kernel on or off, and TF32 on, which it needs for float32."""
    before = operator.FUSED, torch.backends.cuda.matmul.allow_tf32
    operator.FUSED, torch.backends.cuda.matmul.allow_tf32 = on, True
    try:
        yield
    finally:
        operator.FUSED, torch.backends.cuda.matmul.allow_tf32 = before


def switched(call: Callable[[], object], on: bool) -> Callable[[], None]:
    """``call`` with the kernel on or off."""

    def run() -> None:
        with fused(on):
            call()

    return run


def milliseconds(call: Callable[[], object]) -> float:
    """Time per call of as many calls as fill ``SECONDS``, by the device's clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    count = 1
    while True:
        start.record()
        for _ in range(count):
            call()
        end.record()
        torch.cuda.synchronize()
        elapsed = start.elapsed_time(end)
        if elapsed >= 500 * SECONDS:
            return elapsed / count
        count = math.ceil(count * min(10.0, 1000 * SECONDS / max(elapsed, 1e-3)))


def compare(calls: dict[str, Callable[[], object]]) -> dict[str, Row]:
    """Median, lowest and highest time of each call, in turns, and the memory it takes at its peak."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    memory = {}
    for name, call in calls.items():
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        memory[name] = (torch.cuda.max_memory_allocated() - before) / 1e9
    for _, (name, call) in itertools.product(range(ROUNDS), calls.items()):
        times[name].append(milliseconds(call))
    return {
        name: {"ms": statistics.median(t), "lowest": min(t), "highest": max(t), "GB above start": memory[name]}
        for name, t in times.items()
    }


def captured(call: Callable[[], object]) -> Callable[[], None]:
    """The call as a CUDA graph, so that launches cost nothing."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay  # type: ignore[no-any-return]


def bandwidth() -> float:
    """Bytes per second, read and written, of a large copy."""
    source = torch.randn(2**28, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.nbytes / (compare({"copy": lambda: target.copy_(source)})["copy"]["ms"] / 1000)


# -- sections ----------------------------------------------------------------------------------------------------------


def parity(args: argparse.Namespace) -> list[Row]:
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


def operators(args: argparse.Namespace) -> list[Row]:
    """The operator on maps of vHeat-T in bfloat16, as CUDA graphs over inputs that together exceed the cache."""
    from spectral_ops import _fused_triton

    rate = bandwidth()
    rows: list[Row] = []
    for side, channels in STAGES:
        shape = (args.batch, side, side, channels)
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
            row: Row = {"map": f"{args.batch}x{side}x{side}x{channels}", "pass": name, "floor (ms)": floor}
            for kind, found in compare(calls).items():
                row[f"{kind} (ms)"] = found["ms"] / len(fields)
                row[f"{kind} / floor"] = found["ms"] / len(fields) / floor
            rows.append(row)
    return [{**row, "copy (GB/s)": rate / 1e9} for row in rows]


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


def graphs(args: argparse.Namespace) -> list[Row]:
    """vHeat-T's inference call by call and as a CUDA graph, which also shows that nothing in it waits for the host."""
    rows: list[Row] = []
    net = network("vheat_tiny").eval()
    net.reparameterize([224])
    for batch, on in itertools.product((1, args.batch), (False, True)):
        x, last = images(batch, 224), {}

        def call(x: Tensor = x, last: dict[str, Tensor] = last) -> None:
            last["y"] = inferred(net, x, cache=False)

        with fused(on):
            call()
            expected = last["y"].clone()
            replay = captured(call)
            replay()
            difference = float((last["y"] - expected).abs().max())
        calls = {"call by call": switched(call, on), "CUDA graph": replay}
        rows += tabulate(calls, batch, fused=on, difference=difference)
    return rows


def inference(args: argparse.Namespace) -> list[Row]:
    """Classification at 224 px."""
    from _benchmark_public import PublicVHeat

    rows: list[Row] = []
    x = images(args.batch, 224)
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
        rows += tabulate(calls, args.batch)
    return rows


def training(args: argparse.Namespace) -> list[Row]:
    """A training step at 224 px."""
    from _benchmark_public import PublicVHeat

    rows: list[Row] = []
    x = images(args.batch, 224)
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
        rows += tabulate(calls, args.batch)
    return rows


def large(args: argparse.Namespace) -> list[Row]:
    """Inference and a training step at 1024 px, batches an eighth and a thirty-second of the others."""
    rows: list[Row] = []
    own = network("vheat_base", img_size=1024)
    swins = {
        f"swin_base, window {window}": network(
            "swin_base_patch4_window7_224", img_size=1024, window_size=window, drop_path_rate=0.0
        )
        for window in (7, 32)
    }
    many, few = images(max(1, args.batch // 8), 1024), images(max(1, args.batch // 32), 1024)
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


SECTIONS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "parity": parity,
    "operator": operators,
    "graphs": graphs,
    "inference": inference,
    "training": training,
    "large": large,
}


# -- program -----------------------------------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    """Rows of the same keys as Markdown."""

    def cell(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join([*lines, *("| " + " | ".join(map(cell, row.values())) + " |" for row in rows)])


def machine() -> dict[str, Any]:
    """What the figures were measured with."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "gpu": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "timm": timm.__version__,
        "commit": commit.stdout.strip(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--minutes", type=float, default=8.0, help="begin no section later than this")
    parser.add_argument("--out", type=Path, default=ROOT / "work_dirs" / "benchmark_gpu")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: this benchmark needs a CUDA GPU, and torch finds none here", file=sys.stderr)
        return 2
    begun, failed = time.monotonic(), False
    results: dict[str, Any] = {"machine": machine(), "batch": args.batch}
    print(json.dumps(results["machine"]), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in ["parity", *(name for name in args.sections if name != "parity")]:
        if time.monotonic() - begun > 60 * args.minutes:
            results[name] = "not begun: out of time"
            continue
        try:
            results[name] = SECTIONS[name](args)
            print(f"\n## {name}\n\n{table(results[name])}", flush=True)
        except Exception:  # one section, such as one that runs out of memory, does not cost the others
            results[name], failed = traceback.format_exc(), True
            print(f"\n## {name}\n\n{results[name]}", flush=True)
        torch.cuda.empty_cache()
        (args.out / "results.json").write_text(json.dumps(results, indent=1))
        if name == "parity" and (failed or not all(row["ok"] for row in results[name])):
            print("error: the kernel's numbers are wrong on this device; nothing was measured", file=sys.stderr)
            return 1
    print(f"\n{time.monotonic() - begun:.0f} s, results in {args.out / 'results.json'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
