"""The space of a search: agents with their parameters, as a study stores them and as an objective reads them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from backbones.search.agents import Agent, Part
from backbones.search.parameters import Parameter, Value

__all__ = ["OtherSpace", "Space", "Values"]

#: What an objective reads: agent, parameter, value.
Values = Mapping[str, Mapping[str, Value]]
#: The attribute of a study that describes its space.
KEY = "backbones.search:space"


class OtherSpace(ValueError):
    """A study is of another space."""


class Space:
    """All that a search chooses, declared before anything runs.

    Optuna has the parameters as ``"agent.parameter"``, so any of its samplers searches the same space; only those of
    this package keep to limits.

    Args:
        agents: By name.

    Attributes:
        agents: As given.
        parameters: All of them by the name that Optuna has.
        parts: What policies choose together, for each the agent's name, the :class:`Part` and the indices of its
            parameters in ``parameters``.

    Raises:
        TypeError: One is no agent.
        ValueError: There is none, or a name has a dot.

    Example:
        >>> from backbones.search import Agent, Choice, LogFloat, Ordinal
        >>> space = Space(
        ...     nas=Agent(operator=Choice(["heat", "wave"]), width=Ordinal([8, 16, 32])),
        ...     hpo=Agent(lr=LogFloat(1e-4, 1e-2)),
        ... )
        >>> trial = optuna.trial.FixedTrial({"nas.operator": "wave", "nas.width": 2, "hpo.lr": 1e-3})
        >>> space.suggest(trial)
        {'nas': {'operator': 'wave', 'width': 32}, 'hpo': {'lr': 0.001}}
    """

    def __init__(self, **agents: Agent) -> None:
        if not agents:
            raise ValueError("a space needs at least one agent")
        for name, agent in agents.items():
            if not isinstance(agent, Agent):
                raise TypeError(f"{name} must be an Agent, got {agent!r}")
            if "." in name:  # it ends where the parameter's begins
                raise ValueError(f"an agent's name must have no dot, got {name!r}")
        self.agents = dict(agents)
        self.parameters: dict[str, Parameter] = {
            f"{name}.{key}": parameter for name, agent in agents.items() for key, parameter in agent.parameters.items()
        }
        names = list(self.parameters)
        self.parts: list[tuple[str, Part, list[int]]] = [
            (name, part, [names.index(f"{name}.{key}") for key in part.names])
            for name, agent in agents.items()
            for part in agent.parts
        ]

    @property
    def combinations(self) -> int:
        """How many there are that keep to all limits; intervals of numbers count as one value."""
        return math.prod(agent.combinations for agent in self.agents.values())

    @cached_property
    def continuous(self) -> bool:
        """Whether any parameter has any number of values."""
        return any(parameter.continuous for parameter in self.parameters.values())

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Of all parameters, by the name that Optuna has."""
        return {name: parameter.distribution for name, parameter in self.parameters.items()}

    # -- objectives -------------------------------------------------------------------------------------------------

    def suggest(self, trial: BaseTrial) -> dict[str, dict[str, Value]]:
        """What a trial is to try: agent, parameter, value. Inactive parameters are left out.

        Raises:
            Infeasible: The sampler does not know the limits, and proposed what exceeds one.
        """
        found: dict[str, dict[str, Value]] = {}
        for agent, active in self._walk(lambda name: _suggest(trial, name, self.parameters[name])):
            found.setdefault(agent, {}).update(active)
        for name, agent in self.agents.items():
            agent.check(found[name])
        return found

    def read(self, stored: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
        """The values of a stored trial's ``params``.

        Raises:
            ValueError: An active parameter is missing, or has no such value.
        """

        def of(name: str) -> Value:
            if name not in stored:
                raise ValueError(f"{name} is missing in {dict(stored)}")
            return stored[name]

        found: dict[str, dict[str, Value]] = {}
        for agent, active in self._walk(of):
            found.setdefault(agent, {}).update(active)
        return found

    def stored(self, values: Values) -> dict[str, Value]:
        """What Optuna stores for values, such as for ``study.enqueue_trial(space.stored(values))``.

        Raises:
            TypeError: They are not by agent and parameter.
            ValueError: An agent or a parameter is unknown, missing or inactive, or has no such value.
            Infeasible: They exceed a limit.

        Example:
            >>> from backbones.search import Agent, Ordinal
            >>> Space(nas=Agent(width=Ordinal([8, 16, 32]))).stored({"nas": {"width": 16}})
            {'nas.width': 1}
        """
        if not isinstance(values, Mapping) or any(not isinstance(given, Mapping) for given in values.values()):
            raise TypeError(f"values must be by agent and parameter, a dict of dicts, got {values!r}")
        if unknown := set(values) - set(self.agents):
            raise ValueError(f"the space has no agent {sorted(unknown)[0]!r}, only {list(self.agents)}")
        stored: dict[str, Value] = {}
        for agent, given in values.items():
            for key, value in given.items():
                name = f"{agent}.{key}"
                if name not in self.parameters:
                    raise ValueError(f"agent {agent!r} has no {key!r}, only {list(self.agents[agent].parameters)}")
                try:
                    stored[name] = self.parameters[name].to_stored(value)
                except ValueError as error:
                    raise ValueError(f"{name} {error}") from None
        active = {f"{agent}.{key}" for agent, found in self.read(stored).items() for key in found}
        if extra := sorted(set(stored) - active):
            raise ValueError(f"{extra[0]} is not active in {dict(values)}")
        for name, agent in self.agents.items():
            agent.check(values[name])
        return stored

    def _walk(self, of: Callable[[str], Value]) -> Iterator[tuple[str, dict[str, Value]]]:
        """The agent of every parameter in its order, with the parameter's value where it is active."""
        for agent_name, agent in self.agents.items():
            levels: dict[str, int] = {}
            for key, parameter in agent.parameters.items():
                if not agent.active(key, levels):
                    levels[key] = parameter.levels
                    yield agent_name, {}
                    continue
                name = f"{agent_name}.{key}"
                stored = of(name)
                try:
                    levels[key] = parameter.level(stored)
                    yield agent_name, {key: parameter.value(stored)}
                except ValueError as error:
                    raise ValueError(f"{name} {error}") from None

    # -- levels -----------------------------------------------------------------------------------------------------

    def levels(self, stored: Mapping[str, Value]) -> tuple[int, ...] | None:
        """The levels of a stored trial's ``params``; None where it is incomplete, of other values, or infeasible."""
        found: list[int] = []
        try:
            for agent_name, agent in self.agents.items():
                levels: dict[str, int] = {}
                for key, parameter in agent.parameters.items():
                    active = agent.active(key, levels)
                    levels[key] = parameter.level(stored[f"{agent_name}.{key}"]) if active else parameter.levels
                found += levels.values()
        except (KeyError, ValueError, TypeError):
            return None
        if any(tuple(found[i] for i in columns) not in part.row_of for _, part, columns in self.parts):
            return None
        return tuple(found)

    def of_levels(self, levels: Sequence[int], shares: Sequence[float]) -> dict[str, Value]:
        """What is stored for levels: inverse of :meth:`levels`, with the place within intervals."""
        return {
            name: parameter.stored(level, share)
            for (name, parameter), level, share in zip(self.parameters.items(), levels, shares, strict=True)
            if level < parameter.levels
        }

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Levels of a combination, every one of a part as probable as another."""
        levels = np.empty(len(self.parameters), int)
        for _, part, columns in self.parts:
            levels[columns] = part.table[rng.integers(len(part.table))]
        return tuple(levels.tolist())

    # -- studies ----------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """All that makes it this space, as JSON has it."""
        return {name: agent.describe() for name, agent in self.agents.items()}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the description; two spaces with one digest are the same."""
        return hashlib.sha256(_text(self.describe()).encode()).hexdigest()

    def attach(self, study: optuna.Study) -> None:
        """Write the space into a new study, or check that a study is of this space.

        Raises:
            OtherSpace: It is of another; the message lists what differs.
        """
        storage, number = study._storage, study._study_id  # a bracket of Hyperband has no attributes
        known = storage.get_study_user_attrs(number).get(KEY)
        if known is None:
            described = {"digest": self.digest, "agents": _text(self.describe())}
            storage.set_study_user_attr(number, KEY, described)
            return
        if known["digest"] != self.digest:
            lines = differences(json.loads(known["agents"]), self.describe())
            raise OtherSpace(
                f"study {study.study_name!r} is of another space, so its trials cannot be continued in this one; "
                "start a new study, or declare the space as it was:\n" + "\n".join(f"  {line}" for line in lines)
            )


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """What differs between two descriptions, a line each.

    Example:
        >>> differences({"nas": {"width": [8, 16]}}, {"nas": {"width": [8, 32]}, "hpo": {}})
        ['hpo: nothing -> {}', 'nas.width: [8, 16] -> [8, 32]']
    """
    if not (isinstance(old, dict) and isinstance(new, dict)):
        texts = json.dumps(old), json.dumps(new)  # which tell 1 from 1.0 and True
        return [] if texts[0] == texts[1] else [f"{where}: {texts[0]} -> {texts[1]}"]
    lines = []
    for key in sorted({*old, *new}):
        place = f"{where}.{key}" if where else key
        if key not in old:
            lines.append(f"{place}: nothing -> {json.dumps(new[key])}")
        elif key not in new:
            lines.append(f"{place}: {json.dumps(old[key])} -> nothing")
        else:
            lines += differences(old[key], new[key], place)
    if not lines and list(old) != list(new):
        lines.append(f"{where or 'agents'}: the order {list(old)} -> {list(new)}")
    return lines


def _text(described: Any) -> str:
    return json.dumps(described)  # not sorted: policies depend on the order of parameters


def _suggest(trial: BaseTrial, name: str, parameter: Parameter) -> Value:
    match parameter.distribution:
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
        case IntDistribution(low=low, high=high, step=step):
            return trial.suggest_int(name, low, high, step=step)
        case FloatDistribution(low=low, high=high, log=log):
            return trial.suggest_float(name, low, high, log=log)
    raise AssertionError(parameter)
