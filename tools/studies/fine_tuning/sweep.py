"""All runs of a study, one after the other or two at a time."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from studies.fine_tuning.runs import Cell, Settings, run


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
