"""What the samplers of this package share: Optuna's side of them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from backbones.search.agents import matches
from backbones.search.parameters import Value, plain
from backbones.search.replay import REPLACED, Known, Replay, identity, read_replay
from backbones.search.reservations import SEEN, compact, reserve
from backbones.search.space import Space

__all__ = ["AgentSampler", "Allowed"]

#: Of every part, which of its actions may be taken.
Allowed = list[np.ndarray]


class AgentSampler(BaseSampler):
    """A sampler of agents with policies. What it proposes follows from its arguments, the trial's number and the trials
    that the study holds, so that a study that is continued goes on as if it had never been interrupted.

    Args:
        space: What is searched. Parameters that an objective asks for beside it are drawn at random.
        seed: Of all random numbers; None draws one, with which nothing can be repeated.
    """

    def __init__(self, space: Space, seed: int | None = None) -> None:
        if not isinstance(space, Space):
            raise TypeError(f"space must be a Space, got {space!r}")
        seed = plain(seed)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
            raise ValueError(f"seed must be None or an int of at least 0, got {seed!r}")
        self.space = space
        self.known = Known()
        self.seed = int(np.random.SeedSequence().entropy) if seed is None else seed

    def propose(self, replay: Replay, rng: np.random.Generator, allowed: Allowed) -> tuple[int, ...]:
        """Levels to try, which should differ from those of the replay.

        Args:
            replay: The trials that are known.
            rng: Where all random numbers come from.
            allowed: Of every part, which actions may be taken.
        """
        raise NotImplementedError

    # -- Optuna's side ----------------------------------------------------------------------------------------------

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        try:
            self._check_single(study)
            self.space.attach(study)
        except ValueError:  # the trial is in the storage by now, and nobody would ever end it
            storage, number = study._storage, trial._trial_id
            if "fixed_params" in trial.system_attrs:  # whoever declares the right space still has it in the queue
                storage.set_trial_state_values(number, TrialState.WAITING)
            else:
                storage.set_trial_system_attr(number, REPLACED, True)
                storage.set_trial_state_values(number, TrialState.FAIL)
            raise

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._check_single(study)
        return self.space.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._check_single(study)
        asked = [name for name in self.space.parameters if name in search_space]
        found = self._proposal(study, trial) if asked else {}
        drawn = {
            name: self.sample_independent(study, trial, name, distribution)
            for name, distribution in search_space.items()
            if name not in self.space.parameters
        }
        return {name: found[name] for name in asked if name in found} | drawn

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        self._check_single(study)
        seed = np.random.SeedSequence([self.seed, trial.number, zlib.crc32(param_name.encode())])
        sampler = RandomSampler(int(seed.generate_state(1)[0]))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _check_single(self, study: optuna.Study) -> None:
        if study._is_multi_objective():
            raise ValueError(
                f"{type(self).__name__} has one reward that all agents share, so a study must have one objective; "
                f"this one has {len(study.directions)}: limit the others (Limit), or use optuna.samplers.NSGAIISampler"
            )

    # -- proposals --------------------------------------------------------------------------------------------------

    def _proposal(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Value]:
        replay = read_replay(self.space, study, trial.number, self.known)
        rng = np.random.default_rng([self.seed, trial.number])
        fixed = {n: v for n, v in trial.system_attrs.get("fixed_params", {}).items() if n in self.space.parameters}
        allowed = self._allowed({**fixed, **trial.params})
        seen = compact(replay.numbers)
        if replay.seen_running:
            seen += f"; running {compact(replay.seen_running)}"

        def propose(others: set[Any]) -> dict[str, Value]:
            levels = self.propose(replace(replay, taken=replay.taken | others), rng, allowed)
            return self.space.of_levels(levels, rng.random(len(levels)).tolist())

        study._storage.set_trial_system_attr(trial._trial_id, SEEN, seen)
        ended = frozenset(replay.numbers)
        return reserve(study, trial, propose, lambda stored: identity(self.space, stored), replay.taken, ended)

    def _allowed(self, fixed: Mapping[str, Value]) -> Allowed:
        """The actions that agree with values that were fixed beforehand, such as those of an enqueued trial."""
        allowed = []
        for agent, part, _ in self.space.parts:
            agrees = np.ones(len(part.table), bool)
            for i, name in enumerate(part.names):
                if (full := f"{agent}.{name}") in fixed:
                    parameter = self.space.parameters[full]
                    of_level = [matches(parameter, fixed[full], level) for level in range(parameter.levels + 1)]
                    agrees &= np.array(of_level)[part.table[:, i]]
            if not agrees.any():
                given = {name: fixed[name] for name in (f"{agent}.{key}" for key in part.names) if name in fixed}
                raise ValueError(f"no combination of agent {agent!r} that keeps to its limits has {given}")
            allowed.append(agrees)
        return allowed

    # -- for the samplers -------------------------------------------------------------------------------------------

    def draw(
        self, policies: Sequence[np.ndarray], rng: np.random.Generator, allowed: Allowed, count: int
    ) -> np.ndarray:
        """Joint actions by independent policies as levels, ``(count, parameters)``."""
        levels = np.empty((count, len(self.space.parameters)), int)
        for (_, part, columns), policy, agrees in zip(self.space.parts, policies, allowed, strict=True):
            weights = policy * agrees
            if not weights.any():  # without a floor, a policy can be all zero where values were fixed
                weights = agrees
            levels[:, columns] = part.table[rng.choice(len(policy), count, p=weights / weights.sum())]
        return levels

    def is_new(self, levels: Sequence[int], replay: Replay) -> bool:
        """Whether it is no duplicate. Values within intervals are drawn, so that they differ in any case."""
        if not self.space.continuous:
            return tuple(levels) not in replay.taken
        if any(p.continuous and n < p.levels for p, n in zip(self.space.parameters.values(), levels, strict=True)):
            return True
        return identity(self.space, self.space.of_levels(levels, [0.5] * len(levels))) not in replay.taken

    def any_new(self, replay: Replay, rng: np.random.Generator, allowed: Allowed) -> tuple[int, ...]:
        """A combination that has not been tried, where there is one."""
        even = [agrees / agrees.sum() for agrees in allowed]
        if math.prod(int(agrees.sum()) for agrees in allowed) > 2 * len(replay.taken):
            while True:  # every second draw is new
                (levels,) = self.draw(even, rng, allowed, 1).tolist()
                if self.is_new(levels, replay):
                    return tuple(levels)
        tables = [part.table[agrees] for (_, part, _), agrees in zip(self.space.parts, allowed, strict=True)]
        every = np.indices([len(table) for table in tables]).reshape(len(tables), -1).T
        for rows in rng.permutation(every).tolist():
            levels = np.empty(len(self.space.parameters), int)
            for (_, _, columns), table, row in zip(self.space.parts, tables, rows, strict=True):
                levels[columns] = table[row]
            if self.is_new(levels.tolist(), replay):
                break
        return tuple(levels.tolist())
