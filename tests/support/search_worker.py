"""A worker of a search in a process of its own: ``python search_worker.py JOURNAL TRIALS``."""

from __future__ import annotations

import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from backbones.search import Agent, Choice, MA2MLSampler, Ordinal, Space

#: 96 combinations.
SPACE = Space(
    a=Agent(x=Ordinal([1, 2, 3, 4]), y=Choice(["u", "v"])), b=Agent(z=Ordinal([1, 2, 3, 4]), w=Ordinal([1, 2, 3]))
)


def work(journal: str, trials: int) -> None:
    """Evaluate trials of the study in a journal."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name="processes",
        storage=JournalStorage(JournalFileBackend(journal)),
        sampler=MA2MLSampler(SPACE, seed=0),
        load_if_exists=True,
    )
    study.optimize(lambda trial: float(SPACE.suggest(trial)["a"]["x"]), n_trials=trials)


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
