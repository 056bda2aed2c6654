"""One run: a method on a task with a seed, trained, tested and recorded."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from benchmarks.measuring import kept_memory
from files.commit import commit
from files.whole import write_json
from safetensors.torch import save
from scenes.tasks.registry import TASKS
from scenes.tasks.task import SplitName
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.training.memory import peak_memory_of_process
from studies.fine_tuning.adaptation import adapt, adapter_size, trained
from studies.fine_tuning.backbones import as_input, build
from studies.fine_tuning.pretraining import sha256, warm_cosine
from studies.search import search

PACKAGES = ("torch", "timm", "peft", "numpy", "scikit-image", "scikit-learn", "opencv-python-headless")


@dataclass(frozen=True)
class Settings:
    """What all methods share.

    Attributes:
        factor: From the largest learning rate to the next, where the largest is the best.
        limit: A number of images per split, for tests.
    """

    steps: int = 250
    batch: int = 16
    lrs: tuple[float, ...] = (3e-4, 1.5e-3, 7.5e-3, 3.75e-2)
    factor: float = 5.0
    weight_decay: float = 1e-4
    limit: int | None = None


@dataclass(frozen=True)
class Cell:
    """One run: a method on a task, with a seed."""

    backbone: str
    method: str
    task: str
    seed: int

    def path(self, out: Path) -> Path:
        return out / self.backbone / self.task / self.method / f"seed{self.seed}.json"


@cache
def load(task: str, split: SplitName, limit: int | None) -> tuple[Tensor, Tensor]:
    """Inputs and labels of a split, kept in memory."""
    found = TASKS[task].make(split, limit)
    return as_input(torch.from_numpy(found.images)), torch.from_numpy(found.labels)


@torch.no_grad()
def accuracy(model: nn.Module, task: str, split: SplitName, limit: int | None) -> float:
    """Percentage of a split's images classified correctly."""
    model.eval()
    images, labels = load(task, split, limit)
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in zip(images.split(100), labels.split(100), strict=True))
    return 100.0 * right / len(labels)


def train(cell: Cell, lr: float, settings: Settings, checkpoint: Path) -> tuple[nn.Module, dict[str, float]]:
    """A fine-tuned network, and the wall and processor seconds its updates took."""
    torch.manual_seed(cell.seed)
    model = adapt(build(cell.backbone, TASKS[cell.task].classes, checkpoint), cell.backbone, cell.method, cell.seed)
    images, labels = load(cell.task, "train", settings.limit)
    optimizer = torch.optim.AdamW(trained(model).values(), lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_cosine(step, settings.steps))
    order = _order(len(labels), settings, cell.seed)
    model.train()
    wall, processor = time.perf_counter(), time.process_time()
    for indices in order:
        loss = F.cross_entropy(model(images[indices]), labels[indices])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    spent = {"train_seconds": time.perf_counter() - wall, "train_cpu_seconds": time.process_time() - processor}
    return model, spent


def _order(count: int, settings: Settings, seed: int) -> Tensor:
    """(steps, batch) indices that go through all images before any comes again."""
    generator = torch.Generator().manual_seed(seed)
    wanted = settings.steps * settings.batch
    epochs = [torch.randperm(count, generator=generator) for _ in range(-(-wanted // count))]
    return torch.cat(epochs)[:wanted].view(settings.steps, settings.batch)


@dataclass(frozen=True)
class Trial:
    """A fine-tuned network, with the learning rate it had and what came of it."""

    lr: float
    model: nn.Module
    spent: dict[str, float]
    val_accuracy: float


def attempt(cell: Cell, lr: float, settings: Settings, checkpoint: Path) -> Trial:
    """Train, and measure on the validation images."""
    model, spent = train(cell, lr, settings, checkpoint)
    return Trial(lr, model, spent, accuracy(model, cell.task, "val", settings.limit))


def _search(cell: Cell, settings: Settings, checkpoint: Path) -> tuple[Trial, dict[float, float]]:
    """The trial with the best learning rate, and the validation accuracy of each; only the best so far is kept."""
    best: Trial | None = None

    def score(lr: float) -> float:
        nonlocal best
        trial = attempt(cell, lr, settings, checkpoint)
        if best is None or trial.val_accuracy > best.val_accuracy:
            best = trial
        return trial.val_accuracy

    tried = search(score, settings.lrs, settings.factor, below=False)
    assert best is not None
    return best, tried


def run(cell: Cell, out: Path, settings: Settings) -> dict[str, Any]:
    """The record of a run, which is done, and written, where it is not there yet.

    Raises:
        ValueError: A record there is of other settings or another checkpoint.
        FileNotFoundError: The seed is not 0, and there is no run of seed 0 to take the learning rate from.
    """
    checkpoint = out / "checkpoints" / f"{cell.backbone}.safetensors"
    asked = {**asdict(settings), "lrs": list(settings.lrs), "checkpoint": sha256(checkpoint)}
    path = cell.path(out)
    if path.is_file():
        record = json.loads(path.read_text())
        if record["settings"] != asked:
            raise ValueError(f"{path} was run with {record['settings']}, now {asked}: give another --out")
        return record
    tried: dict[float, float] = {}
    if cell.seed == 0:
        trial, tried = _search(cell, settings, checkpoint)
    else:
        first = Cell(cell.backbone, cell.method, cell.task, 0).path(out)
        if not first.is_file():
            raise FileNotFoundError(f"{first} is missing: run seed 0, which chooses the learning rate, before others")
        trial = attempt(cell, json.loads(first.read_text())["lr"], settings, checkpoint)
    model = trial.model
    state = {name: parameter.detach().contiguous() for name, parameter in trained(model).items()}
    batch, targets = (tensor[: settings.batch] for tensor in load(cell.task, "train", settings.limit))
    record = {
        **asdict(cell),
        "lr": trial.lr,
        "search": {str(lr): found for lr, found in tried.items()},
        "val_accuracy": trial.val_accuracy,
        "test_accuracy": accuracy(model, cell.task, "test", settings.limit),
        "adapter_parameters": adapter_size(model, cell.backbone),
        "trained_parameters": sum(p.numel() for p in state.values()),
        **{name: round(seconds, 3) for name, seconds in trial.spent.items()},
        "saved_for_backward_bytes": kept_memory(lambda: F.cross_entropy(model.train()(batch), targets)),
        "peak_process_kib": None if (most := peak_memory_of_process()) is None else most // 1024,
        "file_bytes": len(save(state)),
        "settings": asked,
        "environment": environment(),
    }
    write_json(path, record)
    return record


@cache
def environment() -> dict[str, Any]:
    """Versions, the commit, and what it runs on."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
