"""All transfers: pre-training, the search of learning rates, tests and records."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from files.whole import write_json
from training.commands import say
from training.runs import CONFIGS, evaluate, train, write_changed

from studies.comparison import measure
from studies.methods import TRANSFERS
from studies.search import best_rate, search
from studies.transfer.configs import Run, changes, trained_parameters, write_choosing

ITERATIONS = {"detection": 200, "segmentation": 600}
#: Between the learning rates that are tried beyond the candidates while the outermost is the best.
FACTOR = 3.0
#: What the learning rate is chosen by.
CRITERION = {"detection": "box AP", "segmentation": "mIoU"}


@dataclass(frozen=True)
class Sweep:
    """Where runs go, where pre-training is, and the iterations where they are not the protocol's."""

    out: Path
    pretrained: Path
    iterations: int | None = None

    def checkpoint(self, task: str, seed: int) -> Path:
        """Of pre-training, which is done where it is missing."""
        folder = self.pretrained / task / "vheat" / f"seed{seed}"
        measure(task, "vheat", seed, None, folder)
        return Path((folder / "run" / "last_checkpoint").read_text())

    def attempt(self, run: Run) -> dict[str, float]:
        """A transfer's metrics on the choosing scenes, its processor seconds, and the size of what it saves in MB.

        Raises:
            ValueError: The run that is there has another number of iterations.
        """
        folder, iterations = run.folder(self.out), self.iterations or ITERATIONS[run.task]
        result = folder / "result.json"
        if not result.is_file():
            say(f"{run.task}: {run.method}, seed {run.seed}, rate {run.rate:g}")
            choosing = folder / "choosing.json"
            write_choosing(choosing)
            changed = changes(run, self.checkpoint(run.task, run.seed), iterations, choosing)
            write_changed(CONFIGS[run.task], changed, folder / "config.py")
            before = _processor_seconds()
            found = train(run.task, folder)
            found["seconds"] = _processor_seconds() - before  # others may be using the machine too
            size = Path((folder / "run" / "last_checkpoint").read_text()).stat().st_size / 1e6
            write_json(result, {**found, "MB": size, "iterations": iterations})
        record: dict[str, float] = json.loads(result.read_text())
        if record["iterations"] != iterations:
            raise ValueError(f"{result} is of {record['iterations']} iterations, not {iterations}: give another --out")
        return record

    def search(self, task: str, method: str) -> dict[float, float]:
        """The criterion with seed 0 by learning rate; empty where there is nothing to choose."""
        rates = TRANSFERS[method].rates
        if len(rates) == 1:
            return {}
        return search(lambda rate: self.attempt(Run(task, method, 0, rate))[CRITERION[task]], rates, FACTOR, below=True)

    def measure(self, task: str, method: str, seed: int) -> dict[str, Any]:
        """The record of a method: the metrics on the test scenes, with the learning rate that was best."""
        tried = self.search(task, method)
        run = Run(task, method, seed, best_rate(tried) if tried else TRANSFERS[method].rates[0])
        record = {name: value for name, value in self.attempt(run).items() if name in ("seconds", "MB", "iterations")}
        folder = run.folder(self.out)
        result = folder / "test.json"
        if not result.is_file():
            say(f"{task}: {method}, seed {seed}, on the test scenes")
            write_json(result, evaluate(task, folder))
        parameters = trained_parameters(TRANSFERS[method])
        return {**json.loads(result.read_text()), **record, "rate": run.rate, "parameters": parameters}


def _processor_seconds() -> float:
    """Of all commands that were run and have ended; by the clock on Windows, which does not count them."""
    used = os.times()
    return used.children_user + used.children_system if os.name == "posix" else time.monotonic()
