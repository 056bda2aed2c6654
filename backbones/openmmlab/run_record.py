"""What a file says of the run it belongs to, and whether another run may go on with it."""

from __future__ import annotations

import json
from typing import Any

from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

__all__ = ["changes", "iterations_now", "run_record"]

#: How the batches are drawn, and the steps that are made of them.
_DATA = {"images": "images of the training data", "world_size": "number of processes", "batch_size": "batch size"}
_SCHEDULE = {
    "accumulative_counts": "accumulated batches",
    "max_iters": "max_iters",
    "max_epochs": "max_epochs",
    "param_scheduler": "param_scheduler",
    "optim_wrapper": "optim_wrapper",
}


def run_record(runner: Runner) -> dict[str, Any]:
    """What decides the course of a run, in plain values, and where its stream is."""
    loop, wrapper = runner.train_loop, runner.optim_wrapper
    single = next(iter(wrapper.values())) if isinstance(wrapper, OptimWrapperDict) else wrapper
    limits = {name: getattr(loop, name) for name in ("max_iters", "max_epochs")}
    if type(loop).__name__.find("Iter") >= 0:
        del limits["max_epochs"]  # mmengine says 1
    return {
        **limits,
        "images": _count(loop.dataloader.dataset),
        "world_size": runner.world_size,
        "batch_size": _batch_size(loop.dataloader),
        "accumulative_counts": getattr(single, "_accumulative_counts", 1),
        **{name: json.dumps(value, sort_keys=True, default=_name) for name, value in runner.settings.items()},
        "stream": loop.position() if hasattr(loop, "position") else None,
    }


def _batch_size(loader: Any) -> int:
    return loader.batch_size or getattr(loader.batch_sampler, "batch_size", 0)


def _count(dataset: Any) -> int | None:
    return len(dataset) if hasattr(dataset, "__len__") else None


def _name(value: object) -> str:
    return getattr(value, "__qualname__", type(value).__qualname__)


def changes(theirs: dict[str, Any], ours: dict[str, Any]) -> tuple[list[str], list[str]]:
    """In what two runs differ: what makes it another run, and what only moves its rounding."""

    def differing(names: dict[str, str]) -> list[str]:
        pairs = [(text, theirs.get(name), ours.get(name)) for name, text in names.items()]
        return [f"{text} {_short(old)} -> {_short(new)}" for text, old, new in pairs if old != new]

    data, same_batches = differing(_DATA), _global_batch(theirs) == _global_batch(ours)
    if same_batches and theirs["images"] == ours["images"]:
        return differing(_SCHEDULE), data
    return [*data, *differing(_SCHEDULE)], []


def _global_batch(record: dict[str, Any]) -> int:
    return int(record["world_size"] * record["batch_size"])


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def iterations_now(theirs: dict[str, Any], ours: dict[str, Any], count: int) -> int:
    """How many of our iterations have seen as many images as ``count`` of theirs."""
    return count * _global_batch(theirs) // _global_batch(ours)
