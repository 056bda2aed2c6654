"""A table of our own: every setting of augmentation, architecture and recipe, trained on few digits.

A training is that of tools/train_classifier.py, in this process and with nothing written but its measurements. It is
measured on the validation digits after every epoch, and on the test digits once, after the last.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import tempfile
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from files.paths import DATA
from files.whole import append_line, read_lines, write_json
from searching import digits, networks
from training.classification import evaluate, make_loader, open_folder
from training.classifier import Training
from training.recipe import parse_arguments

from backbones.search import Agent, Choice, Ordinal, Space
from backbones.training.stopping import Stop

FOLDER = DATA / "search_table"
EPOCHS, SEEDS, SIZE = 30, 2, 32
SPACE = Space(
    aug=Agent(policy=Choice(["", "rand-m5-mstd0.5", "rand-m9-mstd0.5"]), scale=Ordinal([0.4, 0.8])),
    nas=Agent(operator=Choice(["heat", "wave", "poisson"]), width=Ordinal([8, 16]), depth=Ordinal([1, 3])),
    hpo=Agent(lr=Ordinal([1e-3, 3e-3, 1e-2]), mixup=Ordinal([0.0, 0.4]), drop_path=Ordinal([0.0, 0.2])),
)

Values = Mapping[str, Mapping[str, Any]]


def settings() -> list[tuple[int, ...]]:
    """The levels of every setting, in the order of their numbers."""
    return list(itertools.product(*(range(parameter.levels) for parameter in SPACE.parameters.values())))


def values_of(levels: tuple[int, ...]) -> Values:
    """The values of a setting."""
    return SPACE.read(SPACE.of_levels(levels, [0.5] * len(levels)))


def _network(values: Values) -> dict[str, Any]:
    """What :mod:`searching.networks` calls the architecture."""
    nas = values["nas"]
    operators = {f"operator_{stage}": nas["operator"] for stage in (1, 2, 3)}
    return {**operators, "width": nas["width"], "depth": nas["depth"], "mlp_ratio": 2.0, "size": SIZE}


def recipe(values: Values) -> list[str]:
    """The arguments of tools/train_classifier.py for a setting, but for folders, the seed and epochs."""
    hpo = {**values["hpo"], "warmup": 3, "weight_decay": 0.05, "smoothing": 0.1}
    aug = {**values["aug"], "erasing": 0.0}
    return [*digits.recipe({"aug": aug, "nas": _network(values), "hpo": hpo}), "--ema-decay", "0"]


class _Training(Training):
    """A training that leaves no files."""

    def _write(self) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def stop_if_asked(self) -> None:
        if self.request.agreed():
            raise Stop


class _Loaded:
    """A loader's images, prepared once, as one batch."""

    def __init__(self, loader: Any) -> None:
        self.dataset = loader.dataset
        self.batches = [tuple(torch.cat(part) for part in zip(*loader, strict=True))]

    def __iter__(self) -> Any:
        return iter(self.batches)


@lru_cache
def _loaded(folder: Path) -> _Loaded:
    """The digits to measure on; they are prepared in the same way for all settings."""
    args = _arguments(values_of(settings()[0]), folder, 0, EPOCHS, folder)
    return _Loaded(make_loader(args, open_folder(args, "val"), torch.nn.Identity(), False))


def _arguments(values: Values, data: Path, seed: int, epochs: int, out: Path) -> argparse.Namespace:
    tool = ["--data-dir", str(data), "--out", str(out), "--device", "cpu"]
    args = parse_arguments([*tool, *recipe(values), "--seed", str(seed), "--epochs", str(epochs)], "")
    args.rank, args.world_size, args.distributed = 0, 1, False
    return args


def train(values: Values, seed: int, epochs: int | None = None) -> dict[str, Any]:
    """Train a setting.

    Returns:
        ``validation``, the accuracy in per cent after each epoch; ``loss``, the training loss of each; ``test``, the
        accuracy on the test digits after the last; ``macs`` of an image; and ``seconds`` of a core.
        A training whose loss became infinite has ``failed``, why, and ends with accuracies of 0.
    """
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        args = _arguments(values, digits.FOLDER / "search", seed, epochs or EPOCHS, Path(folder))
        training = _Training(args)
        training.val = _loaded(digits.FOLDER / "search")
        failed: dict[str, str] = {}
        try:
            training.run()
            test = evaluate(training.net, _loaded(digits.FOLDER / "test"), args, training.stop_if_asked)["top1"]
        except SystemExit as error:
            if not isinstance(error.code, str):  # a signal
                raise
            failed, test = {"failed": error.code}, 0.0
    return {
        "validation": [round(row["top1"], 2) for row in training.history] + [0.0] * len(failed),
        "loss": [round(row["train_loss"], 4) for row in training.history],
        "test": round(test, 2),
        **failed,
        "macs": networks.macs(_network(values), SIZE, classes=10),
        "seconds": round(time.process_time() - start, 2),
    }


# -- files ---------------------------------------------------------------------------------------------------------


class OtherTable(Exception):
    """A folder holds a table of other settings."""


def describe() -> dict[str, Any]:
    """All that makes it this table."""
    return {"space": SPACE.describe(), "epochs": EPOCHS, "recipe": recipe(values_of(settings()[0])), "version": 1}


def check(folder: Path) -> None:
    """Write what the table is into a new folder, or check that it says the same.

    Raises:
        OtherTable: It is another.
    """
    path = folder / "meta.json"
    if not path.exists():
        write_json(path, describe())
    if json.loads(path.read_text()) != json.loads(json.dumps(describe())):
        raise OtherTable(f"{folder} holds a table of other settings; give another --out")


def read_rows(folder: Path) -> dict[tuple[int, int], dict[str, Any]]:
    """What is there, by the numbers of the setting and the seed."""
    rows = [row for path in sorted(folder.glob("shard-*.jsonl")) for row in read_lines(path)]
    return {(row["setting"], row["seed"]): row for row in rows}


def jobs(folder: Path, shard: int, shards: int) -> list[tuple[int, int]]:
    """The settings and seeds of a shard that no shard has, the first seed of all settings first."""
    every = [(setting, seed) for seed in range(SEEDS) for setting in range(len(settings()))]
    done = read_rows(folder)
    return [job for job in every[shard::shards] if job not in done]


def add(folder: Path, shard: int, shards: int, setting: int, seed: int) -> dict[str, Any]:
    """Train a setting and add it to the shard's file."""
    row = {"setting": setting, "seed": seed, **train(values_of(settings()[setting]), seed)}
    append_line(folder / f"shard-{shard:03d}-of-{shards:03d}.jsonl", row)
    return row
