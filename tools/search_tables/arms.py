"""The contenders: what each proposes after the trials so far."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.distributions import IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler

from backbones.search import Agent, Choice, MA2MLLiteSampler, MA2MLSampler, Space
from search_tables.tables import Table


def _gaussian_process(seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of the argument, which fits: a table has one score
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=True)


#: From the space and a seed to a sampler. Those of Optuna know the order of what is ordered.
SAMPLERS: dict[str, Callable[[Space, int], BaseSampler]] = {
    "random": lambda space, seed: optuna.samplers.RandomSampler(seed),
    "tpe": lambda space, seed: optuna.samplers.TPESampler(seed=seed),
    "cma-es": lambda space, seed: optuna.samplers.CmaEsSampler(seed=seed),
    "gp": lambda space, seed: _gaussian_process(seed),
    "ma2ml": MA2MLSampler,
    "lite": MA2MLLiteSampler,
    "shared": partial(MA2MLSampler, credit="shared"),
    "simultaneous": partial(MA2MLSampler, order="simultaneous"),
    "on-policy": partial(MA2MLSampler, off_policy=False),
    "policies": partial(MA2MLSampler, candidates=1),
    "uniform": partial(MA2MLSampler, floor=0.999),
    "mlp": partial(MA2MLSampler, critic="mlp"),
}
#: What an arm is, for tables.
ARMS: dict[str, str] = {
    "random": "random",
    "tpe": "TPE, Optuna 5's default",
    "cma-es": "CMA-ES",
    "gp": "Gaussian process of Optuna, for scores without noise",
    "ma2ml": "MA2ML, reconstructed, as it is by default",
    "lite": "MA2ML-Lite: REINFORCE",
    "shared": "MA2ML with shared credit",
    "simultaneous": "MA2ML with simultaneous updates",
    "on-policy": "MA2ML on-policy",
    "policies": "MA2ML, one draw from the policies instead of the best of 64",
    "uniform": "the critic alone: the best of 64 uniform draws",
    "mlp": "MA2ML with networks as critic",
    "modules": "MA2ML's sampler, one module after another",
}
#: Those that take many times longer than the others: at 40 trials 50 and 90 ms a proposal, where MA2ML and TPE take 2.
COSTLY = ("gp", "mlp")
#: Those that divide a number of trials that they are told: a shorter search of theirs is not the start of a longer one.
BUDGETED = ("modules",)


def curve(table: Table, arm: str, seed: int, trials: int) -> list[float]:
    """Of every trial, the share of the space that is truly better than the best one found so far.

    The best one is that with the best score in training seed ``seed``, as a search sees it; the truth is the mean of
    seeds.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    regrets = table.regrets()
    best, found = -np.inf, []
    where: tuple[int, ...] = ()
    for levels, score in _search(table, arm, seed, trials):
        if score > best:
            best, where = score, levels
        found.append(float(regrets[where]))
    return found


def _search(table: Table, arm: str, seed: int, trials: int) -> Any:
    if arm == "modules":
        yield from _one_module_after_another(table, seed, trials)
        return
    space = table.space
    study = optuna.create_study(direction="maximize", sampler=SAMPLERS[arm](space, seed))
    for _ in range(trials):
        if arm == "cma-es":  # takes no categoricals
            fixed = {name: IntDistribution(0, p.levels - 1) for name, p in space.parameters.items()}
            trial = study.ask(fixed)
            levels = tuple(trial.params[name] for name in space.parameters)
        else:
            trial = study.ask()
            space.suggest(trial)
            levels = space.levels(trial.params)
        score = table.score(levels, seed)
        study.tell(trial, score)
        yield levels, score


def _one_module_after_another(table: Table, seed: int, trials: int) -> Any:
    """Each agent has its share of the trials, the others at their default, the middle, or at what was found best."""
    space = table.space
    current = {name: p.levels // 2 if p.ordered else 0 for name, p in space.parameters.items()}
    for k, (name, agent) in enumerate(space.agents.items()):
        alone = Space(**{name: agent})
        study = optuna.create_study(direction="maximize", sampler=MA2MLSampler(alone, seed))
        share = trials * (k + 1) // len(space.agents) - trials * k // len(space.agents)
        for _ in range(share):
            trial = study.ask()
            alone.suggest(trial)
            levels = {**current, **dict(zip(alone.parameters, alone.levels(trial.params), strict=True))}
            score = table.score(tuple(levels.values()), seed)
            study.tell(trial, score)
            yield tuple(levels.values()), score
        current.update(zip(alone.parameters, alone.levels(study.best_params), strict=True))


def small_table(seed: int = 0) -> Table:
    """A table that is made up, for tests: two agents whose effects interact."""
    space = Space(a=Agent(x=Choice([0, 1, 2])), b=Agent(y=Choice([0, 1, 2, 3])))
    return Table("made-up", space, np.random.default_rng(seed).standard_normal((3, 4, 2)))
