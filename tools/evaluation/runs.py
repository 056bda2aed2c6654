"""The runs of a study: learning rates searched with seed 0, trainings, and predictions of what was trained."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from files.commit import commit
from files.paths import ROOT
from files.whole import write_json
from studies.search import best_rate, search
from training.commands import say
from training.logs import latest, read_records

from backbones.training.files import write_whole
from backbones.weights.integrity import sha256
from evaluation.assembly import Contender
from evaluation.config_files import config_text, write_config
from evaluation.locks import locked
from evaluation.metrics import main_metric, measure
from evaluation.protocols import PROTOCOLS
from evaluation.store import Store, run_here
from evaluation.tasks import innermost

#: Between the learning rates that are tried beyond the candidates while the outermost is the best.
FACTOR = 3.0
#: mmengine has one current scope in a process, by which names in configs are looked up.
_SCOPE = threading.RLock()


class Case(NamedTuple):
    """One line of the table, and a seed."""

    task: str
    entry: str
    protocol: str
    share: float
    seed: int

    def __str__(self) -> str:
        labels = f", {100 * self.share:g} % of the labels" if self.share < 1 else ""
        return f"{self.task}: {self.entry}, {PROTOCOLS[self.protocol].title}{labels}, seed {self.seed}"


@dataclass(frozen=True)
class Found:
    """What a case has come to: its learning rate, what its training recorded, and the key of its predictions."""

    rate: float
    record: dict[str, Any]
    key: str
    tried: dict[float, float]


class Runs:
    """Everything that is run, below a folder; what is there is not run again.

    Args:
        folder: Of the study.
        contenders: By task and entry.
        only_there: Whether nothing may be run.
        run: How a command is run.
    """

    def __init__(
        self,
        folder: Path,
        contenders: dict[tuple[str, str], Contender],
        *,
        only_there: bool = False,
        run: Callable[..., float] = run_here,
    ) -> None:
        self.folder, self.contenders, self.only_there, self.run = folder, contenders, only_there, run
        self.store = Store(folder / "predictions")
        self._annotations: dict[tuple[str, str], tuple[str, str]] = {}
        self._trained_on: dict[tuple[str, float, int], str] = {}

    def place(self, case: Case, rate: float) -> Path:
        """The folder of a training."""
        task = self.contenders[case.task, case.entry].ready.task
        parts = (
            task.trained_by or case.task,
            case.entry,
            case.protocol,
            f"share{case.share:g}",
            f"seed{case.seed}",
            f"rate{rate:g}",
        )
        return self.folder.joinpath("runs", *parts)

    # --- training -----------------------------------------------------------------------------------------------

    def train(self, case: Case, rate: float, environment: dict[str, str]) -> dict[str, Any]:
        """Train, unless that has been done, from where it was left: checkpoint, its hash, seconds, memory, images/s.

        Raises:
            ValueError: What is there was trained otherwise.
            FileNotFoundError: It is not there, and nothing may be run.
            evaluation.locks.Busy: Another command is at it.
        """
        contender, folder = self.contenders[case.task, case.entry], self.place(case, rate)
        start = contender.checkpoint(case.seed) if PROTOCOLS[case.protocol].pretrained else None
        if case.protocol == "given":
            return {"checkpoint": str(start), "sha256": sha256(start)}
        with _SCOPE:
            config = contender.training(case.protocol, case.share, case.seed, rate)
            labels = self._labels(case, config)
        began = {"config": config_text(config), "start": start and sha256(start), "labels": labels}
        result = folder / "result.json"
        if result.is_file():
            return _same(json.loads(result.read_text()), began, result)
        if self.only_there:
            raise FileNotFoundError(f"no training in {folder}: run without --report-only")
        with locked(folder / "lock"):
            if result.is_file():
                return _same(json.loads(result.read_text()), began, result)
            before = folder / "began.json"
            if before.is_file():
                _same(json.loads(before.read_text()), began, before)
            write_json(before, began)
            write_config(config, folder / "config.py")
            say(f"{case}, rate {rate:g}: training")
            command = [
                sys.executable,
                str(ROOT / "tools/train.py"),
                str(folder / "config.py"),
                "--work-dir",
                str(folder / "run"),
            ]
            environment = {**environment, **_python_path(contender)}
            seconds = self.run([*command, "--resume"], folder / "train.log", environment, f"[{_short(case, rate)}]")
            checkpoint = _named(
                Path((folder / "run" / "last_checkpoint").read_text().strip()), folder / "checkpoint.pth"
            )
            record = {"checkpoint": str(checkpoint), "sha256": sha256(checkpoint), "seconds": seconds}
            record |= {"MB": checkpoint.stat().st_size / 1e6, "commit": commit(), **_logged(folder / "run"), **began}
            write_json(result, record)
            return record

    def _labels(self, case: Case, config: dict[str, Any]) -> str:
        """The hash of what a case trains on, looked at once."""
        key = (case.task, case.share, case.seed)
        if key not in self._trained_on:
            settings = innermost(config["train_dataloader"]["dataset"])
            self._trained_on[key] = self._any_of(case.task).ready.annotations(settings)
        return self._trained_on[key]

    # --- predictions --------------------------------------------------------------------------------------------

    def predict(
        self,
        case: Case,
        rate: float,
        split: str,
        environment: dict[str, str],
        changes: Sequence[Callable[[dict[str, Any]], dict[str, Any]]] = (dict,),
    ) -> list[str]:
        """The keys of the predictions of a training on the images that choose or are tested, for each change of the
        config.

        Raises:
            As :meth:`train`.
        """
        record, contender = self.train(case, rate, environment), self.contenders[case.task, case.entry]
        with _SCOPE:
            model = contender.model(case.protocol, contender.checkpoint(case.seed)).to_dict()
            configs = [change(contender.testing(model, split)) for change in changes]
            annotations = self.annotations(case.task, split)
        environment = {**environment, **_python_path(contender)}
        name = f"[{_short(case, rate)}]"
        kind, runs = contender.ready.kind, None if self.only_there else self.run
        return self.store.predict(configs, kind, Path(record["checkpoint"]), annotations, name, environment, runs)

    def annotations(self, task: str, split: str) -> tuple[str, str]:
        """The file of COCO annotations that predictions are compared with, if it is one, and the hash of the truth."""
        with _SCOPE:
            if (task, split) not in self._annotations:
                settings, ready = self.truth(task, split), self._any_of(task).ready
                file = ""
                if ready.kind == "detection":
                    file = str(Path(settings.get("data_root") or "", settings["ann_file"]).absolute())
                self._annotations[task, split] = (file, ready.annotations(settings))
            return self._annotations[task, split]

    def measured(self, task: str, key: str, split: str) -> dict[str, Any]:
        """The metrics of predictions."""
        with _SCOPE:
            truth, ready = self.truth(task, split), self._any_of(task).ready
            return self.store.kept(key, f"metrics-{split}", lambda place: measure(ready, truth, place))

    def truth(self, task: str, split: str) -> dict[str, Any]:
        """The settings of the data set that predictions are compared with."""
        return self._any_of(task).truth(split)

    def _any_of(self, task: str) -> Contender:
        return next(contender for (name, _), contender in self.contenders.items() if name == task)

    # --- cases --------------------------------------------------------------------------------------------------

    def searched(self, case: Case, environment: dict[str, str]) -> dict[float, float]:
        """The metric with seed 0 on the images that choose by learning rate; empty where there is no choice."""
        contender = self.contenders[case.task, case.entry]
        rates, first = contender.entry.rates[case.protocol], case._replace(seed=0)
        if len(rates) == 1:
            return {}

        def score(rate: float) -> float:
            (key,) = self.predict(first, rate, "choose", environment)
            return main_metric(self.measured(case.task, key, "choose"), contender.ready.metric)

        return search(score, rates, FACTOR, below=True)

    def finish(self, case: Case, environment: dict[str, str]) -> Found:
        """Bring a case to its end, as far as that has not been done."""
        tried = self.searched(case, environment)
        rates = self.contenders[case.task, case.entry].entry.rates[case.protocol]
        rate = best_rate(tried) if tried else rates[0]
        record = self.train(case, rate, environment)
        (key,) = self.predict(case, rate, "test", environment)
        return Found(rate, record, key, tried)


def _same(record: dict[str, Any], began: dict[str, Any], path: Path) -> dict[str, Any]:
    for what in ("start", "labels", "config"):
        if record.get(what, began[what]) != began[what]:
            if what == "start":
                raise ValueError(f"{path} started from another checkpoint than is there now: give another --out")
            if what == "labels":
                raise ValueError(f"{path} was trained on other labels than are there now: give another --out")
            old, new = (text.splitlines() for text in (record[what], began[what]))
            changed = [line.partition(" = ")[0] for line in {*old} ^ {*new}]
            raise ValueError(
                f"{path} was trained with another config, which differs in {', '.join(sorted(set(changed)))}: "
                f"give another --out"
            )
    return record


def _named(checkpoint: Path, path: Path) -> Path:
    """The last checkpoint under a name that does not say after how many iterations it was written."""
    path.unlink(missing_ok=True)
    try:
        os.link(checkpoint, path)
    except OSError:  # no links on this disk
        write_whole(path, lambda part: shutil.copyfile(checkpoint, part))
    return path


def _short(case: Case, rate: float) -> str:
    return f"{case.task} {case.entry} {case.protocol} {case.share:g} seed{case.seed} rate{rate:g}"


def _python_path(contender: Contender) -> dict[str, str]:
    """So that modules beside the configs can be imported."""
    configs = [
        contender.ready.task.config,
        *filter(None, [(contender.entry.config or {}).get(contender.ready.task.name)]),
    ]
    paths = [*(str(config.parent) for config in configs), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {"PYTHONPATH": os.pathsep.join(filter(None, dict.fromkeys(paths)))}


def _logged(folder: Path) -> dict[str, float]:
    """Peak memory in MB, and the median of images per second, of the newest log; nothing where there is none."""
    if not any(folder.glob("*/vis_data/scalars.json")):
        return {}
    records = [r for r in read_records(latest(folder, "*/vis_data/scalars.json")) if "loss" in r]
    memory = [r["memory"] for r in records if "memory" in r]
    speed = sorted(r["images_per_s"] for r in records if "images_per_s" in r)
    found = {"memory": max(memory)} if memory else {}
    return {**found, **({"images_per_s": speed[len(speed) // 2]} if speed else {})}
