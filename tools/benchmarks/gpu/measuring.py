"""Time by the GPU's own clock, memory, CUDA graphs, and the fused kernel on or off."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from spectral_ops import use_kernels

DEVICE = "cuda"
ROUNDS = 3
SECONDS = 0.4  # per measurement
CACHE = 2**28  # bytes, more than the L2 cache holds

Row = dict[str, Any]


@contextmanager
def fused(on: bool) -> Iterator[None]:
    """Turn the kernel on or off, and TF32 on, which it needs for float32."""
    before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, True
    try:
        with use_kernels(fused=on):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


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
