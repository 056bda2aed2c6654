"""How benchmarks measure: contenders of one case in turn, in one process; medians, spread, peak memory, errors."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

Run = Callable[[], Tensor | None]


@dataclass(frozen=True)
class Figure:
    """What was measured of one contender.

    Attributes:
        milliseconds: Median of the samples.
        spread: Half of the distance between the quartiles, over the median.
        peak_mib: Most memory of tensors made during one run, alive at once.
        error: ``|out - exact| / |exact|`` against float64, None where there is nothing to compare with.
    """

    milliseconds: float
    spread: float
    peak_mib: float | None = None
    error: float | None = None


def alternate(runs: dict[str, Run], device: torch.device, rounds: int, seconds: float) -> dict[str, Figure]:
    """Median time of each run. They take turns, starting with another one in each round.

    A sample repeats a run until it takes ``seconds``, so that short runs are measured as well as long ones.
    """
    repeats = {}
    for name, run in runs.items():
        run()
        repeats[name] = max(1, round(seconds / _time(run, 1, device)))
    samples: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            samples[name].append(_time(runs[name], repeats[name], device))
    return {name: _figure(values) for name, values in samples.items()}


def _time(run: Run, repeats: int, device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    _wait(device)
    return (time.perf_counter() - start) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _figure(samples: list[float]) -> Figure:
    median = statistics.median(samples)
    lower, _, upper = statistics.quantiles(samples, n=4) if len(samples) > 1 else (median,) * 3
    return Figure(1000 * median, (upper - lower) / 2 / median)


def peak_memory(run: Run, device: torch.device) -> float:
    """MiB of tensors made by a run that are alive at once, at most."""
    run()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    return max(_alive(run)) / 2**20


def kept_memory(run: Run) -> int:
    """Bytes of tensors made by a run on the CPU that are alive after it, as long as its result is."""
    run()
    return _alive(run)[-1]


def _alive(run: Run) -> list[int]:
    """Bytes of tensors made by a run that are alive after each allocation and release."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as recorded:
        result = run()
    pending, changes = list(recorded.profiler.kineto_results.experimental_event_tree()), []
    while pending:
        event = pending.pop()
        pending.extend(event.children)
        if event.tag.name == "Allocation":
            changes.append((event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size))
    del result
    alive, own = [0], set()
    for _, address, change in sorted(changes):
        if change > 0:
            own.add(address)
        elif address not in own:  # made before the run
            continue
        else:
            own.remove(address)
        alive.append(alive[-1] + change)
    return alive


def relative_error(out: Tensor, exact: Tensor) -> float:
    """``|out - exact| / |exact|``."""
    return ((out.double().cpu() - exact.cpu()).norm() / exact.norm()).item()


def as_record(figures: dict[str, Figure]) -> dict[str, dict[str, float | None]]:
    """For JSON, to four digits."""
    return {
        name: {key: None if value is None else float(f"{value:.4g}") for key, value in asdict(figure).items()}
        for name, figure in figures.items()
    }
