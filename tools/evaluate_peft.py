"""Compare parameter-efficient fine-tuning methods on nine small tasks that need no download.

    OMP_NUM_THREADS=1 python tools/evaluate_peft.py [--backbone vit] [--methods lora ...] [--tasks digits ...]
                                                    [--seeds 0 1 2 3 4] [--jobs 1] [--out work_dirs/peft]
    python tools/evaluate_peft.py --table [...]    # of the runs that are there and asked for, as Markdown

The tasks and the guard against leakage are in ``scenes/tasks``, the backbones and their pre-training (done here where
its checkpoint is missing) in ``_pretrain``, the methods and their budgets in ``_peft_methods``.

One protocol for all: 800 training images, 250 updates of AdamW at batch 16, cosine with warm-up, no augmentation, the
weights after the last update. Only the learning rate is chosen, for each method and task, by the accuracy on the 200
validation images with seed 0: out of the same four, and beyond the largest as long as that is the best so far. Each run
then sees the test images once. Seeds change the new head, the adapter's start and the order of images; the images stay
the same.

Each run is one JSON file; what is there is not run again, so a stopped sweep goes on where it was. Seed 0 comes first,
since the others use its learning rate.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from _peft_methods import METHODS, adapt, adapter_size, trained
from _peft_table import format_table, read_records
from _pretrain import BACKBONES, as_input, build, pretrain, sha256, warm_cosine
from _search import next_rate
from benchmarks.measuring import kept_memory
from files.whole import write_json
from safetensors.torch import save
from scenes.tasks.registry import TASKS
from scenes.tasks.task import SplitName
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
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


# -- one training -----------------------------------------------------------------------------------------------------


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


# -- one run ----------------------------------------------------------------------------------------------------------


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
    search: dict[float, float] = {}
    if cell.seed == 0:
        while (lr := next_rate(search, settings.lrs, settings.factor, below=False)) is not None:
            candidate, spent_here = train(cell, lr, settings, checkpoint)
            found = accuracy(candidate, cell.task, "val", settings.limit)
            if found > max(search.values(), default=-1.0):
                best, chosen, model, spent = found, lr, candidate, spent_here
            search[lr] = found
    else:
        first = Cell(cell.backbone, cell.method, cell.task, 0).path(out)
        if not first.is_file():
            raise FileNotFoundError(f"{first} is missing: run seed 0, which chooses the learning rate, before others")
        chosen = json.loads(first.read_text())["lr"]
        model, spent = train(cell, chosen, settings, checkpoint)
        best = accuracy(model, cell.task, "val", settings.limit)
    state = {name: parameter.detach().contiguous() for name, parameter in trained(model).items()}
    batch, targets = (tensor[: settings.batch] for tensor in load(cell.task, "train", settings.limit))
    record = {
        **asdict(cell),
        "lr": chosen,
        "search": {str(lr): found for lr, found in search.items()},
        "val_accuracy": best,
        "test_accuracy": accuracy(model, cell.task, "test", settings.limit),
        "adapter_parameters": adapter_size(model, cell.backbone),
        "trained_parameters": sum(p.numel() for p in state.values()),
        **{name: round(seconds, 3) for name, seconds in spent.items()},
        "saved_for_backward_bytes": kept_memory(lambda: F.cross_entropy(model.train()(batch), targets)),
        "peak_process_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "file_bytes": len(save(state)),
        "settings": asked,
        "environment": environment(),
    }
    write_json(path, record)
    return record


@cache
def environment() -> dict[str, Any]:
    """Versions, the commit (with ``+`` where files differ from it), and what it runs on."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
    return {
        "commit": git("rev-parse", "HEAD") + changed,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


# -- the sweep --------------------------------------------------------------------------------------------------------


def _work(cell: Cell, out: Path, settings: Settings) -> None:
    torch.set_num_threads(1)
    path = cell.path(out)
    fresh = not path.is_file()
    record = run(cell, out, settings)
    if fresh:
        print(
            f"{time.strftime('%H:%M:%S')} {cell.backbone} {cell.task} {cell.method} seed {cell.seed}: "
            f"test {record['test_accuracy']:.1f}, lr {record['lr']}, {record['train_cpu_seconds']:.1f} CPU s",
            flush=True,
        )


def sweep(cells: Iterable[Cell], out: Path, settings: Settings, jobs: int = 1) -> None:
    """Do all runs that are not there, seed after seed, 0 first."""
    by_seed: dict[int, list[Cell]] = {}
    for cell in cells:
        by_seed.setdefault(cell.seed, []).append(cell)
    for seed in sorted(by_seed):
        if jobs == 1:
            for cell in by_seed[seed]:
                _work(cell, out, settings)
            continue
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            for future in [pool.submit(_work, cell, out, settings) for cell in by_seed[seed]]:
                future.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=BACKBONES, default="vit")
    usual = [name for name, method in METHODS.items() if not method.variant]
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=usual, metavar="NAME", help=", ".join(METHODS))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="processes of one thread each")
    parser.add_argument("--out", type=Path, default=ROOT / "work_dirs" / "peft")
    parser.add_argument("--table", action="store_true", help="print the table of the runs that are there and stop")
    args = parser.parse_args()
    if args.table:
        asked = [r for r in read_records(args.out / args.backbone) if r["method"] in args.methods]
        print(format_table([r for r in asked if r["seed"] in args.seeds], args.tasks), end="")
        return
    torch.set_num_threads(1)
    if not (args.out / "checkpoints" / f"{args.backbone}.json").is_file():
        pretrain(args.backbone, args.out / "checkpoints")
    for method in args.methods:
        size = adapter_size(adapt(build(args.backbone, 2), args.backbone, method, 0), args.backbone)
        print(f"{method}: {size:,} trainable parameters and the head", flush=True)
    cells = [Cell(args.backbone, m, t, s) for s in args.seeds for t in args.tasks for m in args.methods]
    sweep(cells, args.out, Settings(), args.jobs)


if __name__ == "__main__":
    main()
