"""An agent of a search: parameters that are chosen together, and the combinations of them that there are."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from backbones.search.limits import Infeasible, Limit
from backbones.search.parameters import Parameter, Value, same

__all__ = ["Agent", "Part"]

#: A policy holds one number for each combination. Parameters of an agent without limits are split where there are more,
#: and act as several agents inside of the sampler.
MOST_OF_A_PART = 4096
#: Combinations that hang together by a limit or by conditions cannot be split.
MOST_OF_AN_AGENT = 200_000
#: The critic has a matrix over the levels of all parameters, so that each proposal would take seconds with more.
MOST_LEVELS = 1000


class Part:
    """Parameters of an agent that one policy chooses together.

    Attributes:
        names: Of the parameters.
        table: The levels of every combination, ``(combinations, parameters)``; ``Parameter.levels``, one more than the
            last level, is an inactive parameter's.
    """

    def __init__(self, names: Sequence[str], table: np.ndarray) -> None:
        self.names = tuple(names)
        self.table = table

    @cached_property
    def row_of(self) -> dict[tuple[int, ...], int]:
        """The row of each combination."""
        return {tuple(row): i for i, row in enumerate(self.table.tolist())}


class Agent:
    """A module of the training pipeline with choices of its own: augmentation, architecture, hyper-parameters.

    Args:
        limits: One :class:`Limit` or several on the values of its parameters. What costs too much is never chosen.
        parameters: By name. Conditions (``when``) speak of parameters that stand before.

    Attributes:
        parameters: As given.
        limits: As a tuple.

    Raises:
        TypeError: A parameter or a limit is none.
        ValueError: There is no parameter, a condition speaks of what is not there, conditions never hold together, a
            parameter has too many levels, or there are too many combinations to be checked against the limits.
        Infeasible: No combination keeps to the limits; the message says by how much and what is cheapest.

    Example:
        >>> from backbones.search import Choice, LogFloat, Ordinal
        >>> agent = Agent(
        ...     width=Ordinal([8, 16, 32]),
        ...     depth=Ordinal([1, 2]),
        ...     limits=Limit(lambda values: values["width"] * values["depth"], at_most=32, of="cells"),
        ... )
        >>> agent.combinations
        5
        >>> Agent(opt=Choice(["sgd", "adamw"]), momentum=Ordinal([0.8, 0.9], when={"opt": "sgd"})).combinations
        3
    """

    def __init__(self, *, limits: Limit | Sequence[Limit] = (), **parameters: Parameter) -> None:
        self.parameters: Mapping[str, Parameter] = dict(parameters)
        several = isinstance(limits, Sequence) and all(isinstance(limit, Limit) for limit in limits)
        if not several and not isinstance(limits, Limit):
            raise TypeError(f"limits must be a Limit or a sequence of them, got {limits!r}")
        self.limits = (limits,) if isinstance(limits, Limit) else tuple(limits)
        if not parameters:
            raise ValueError("an agent needs at least one parameter")
        for name, parameter in parameters.items():
            if not isinstance(parameter, Parameter):
                raise TypeError(f"{name} must be a Choice, Ordinal, IntRange, Float or LogFloat, got {parameter!r}")
            if parameter.levels > MOST_LEVELS:
                raise ValueError(
                    f"{name} has {parameter.levels:,} levels, more than {MOST_LEVELS:,}: give it a larger step or "
                    f"fewer bins, or make it an Ordinal of some of its values"
                )
            self._check_conditions(name, parameter)
        for name, parameter in parameters.items():
            if self.limits and parameter.continuous:
                raise ValueError(
                    f"{name} has any number of values, so limits on the agent's combinations cannot be checked before "
                    f"one is drawn: make it an Ordinal, or give it to another agent"
                )
        self.parts = self._parts()

    def _check_conditions(self, name: str, parameter: Parameter) -> None:
        before = list(itertools.takewhile(lambda other: other != name, self.parameters))
        for other, values in parameter.when.items():
            if other not in before:
                raise ValueError(f"{name} is active by {other!r}, which must stand before it in its agent: {before}")
            if self.parameters[other].continuous:
                raise ValueError(f"{name} cannot be active by {other!r}, which has any number of values")
            for value in values:
                try:
                    self.parameters[other].to_stored(value)
                except ValueError as error:
                    raise ValueError(f"{name} is active by {other}={value!r}, but it {error}") from None

    @property
    def combinations(self) -> int:
        """How many there are that keep to the limits; intervals of numbers count as one value."""
        return math.prod(len(part.table) for part in self.parts)

    @cached_property
    def _accepts(self) -> dict[str, dict[str, frozenset[int]]]:
        """The levels of other parameters at which each is active."""
        found: dict[str, dict[str, frozenset[int]]] = {}
        for name, parameter in self.parameters.items():
            found[name] = {
                other: frozenset(self.parameters[other].level(self.parameters[other].to_stored(v)) for v in values)
                for other, values in parameter.when.items()
            }
        return found

    def active(self, name: str, levels: Mapping[str, int]) -> bool:
        """Whether a parameter is active when those before it have these levels."""
        return all(levels.get(other) in accepted for other, accepted in self._accepts[name].items())

    def values_of(self, names: Sequence[str], row: Sequence[int]) -> dict[str, Value]:
        """The values of a combination; inactive parameters are left out."""
        values = {}
        for name, level in zip(names, row, strict=True):
            parameter = self.parameters[name]
            if level < parameter.levels:
                values[name] = parameter.value(parameter.stored(level))
        return values

    def check(self, values: Mapping[str, Value]) -> None:
        """Raise :class:`Infeasible` where values exceed a limit."""
        for limit in self.limits:
            if not limit.allows(values):
                cost = limit.of_values(values)
                raise Infeasible(f"{dict(values)} has {cost:,} {limit.of}, allowed are {limit.bounds}")

    def describe(self) -> dict[str, Any]:
        """All that makes it this agent, as JSON has it. Limits are known by what they allow, too."""
        described: dict[str, Any] = {"parameters": {name: p.describe() for name, p in self.parameters.items()}}
        if self.limits:
            described["limits"] = [limit.describe() for limit in self.limits]
            (part,) = self.parts
            digest = hashlib.sha256(json.dumps(part.table.tolist()).encode()).hexdigest()
            described["allowed"] = f"{self.combinations} combinations, sha256 {digest}"
        return described

    # -- combinations -----------------------------------------------------------------------------------------------

    def _parts(self) -> list[Part]:
        if self.limits or math.prod(p.levels for p in self.parameters.values()) <= MOST_OF_A_PART:
            names = list(self.parameters)
            return [Part(names, self._feasible(names, self._table(names)))]
        parts: list[list[str]] = []
        for group in self._groups():
            if parts and self._count([*parts[-1], *group]) <= MOST_OF_A_PART:
                parts[-1] += group
            else:
                parts.append(list(group))
        return [Part(names, self._table(names)) for names in parts]

    def _groups(self) -> list[list[str]]:
        """Parameters that hang together by conditions, in the order of declaration."""
        groups: list[list[str]] = []
        for name, parameter in self.parameters.items():
            joined = [group for group in groups if any(other in group for other in parameter.when)]
            groups = [group for group in groups if group not in joined]
            groups.append([*itertools.chain(*joined), name])
        order = list(self.parameters)
        return [sorted(group, key=order.index) for group in groups]

    def _count(self, names: Sequence[str]) -> int:
        """No fewer than the combinations of these parameters."""
        return math.prod(self.parameters[name].levels + bool(self.parameters[name].when) for name in names)

    def _table(self, names: Sequence[str]) -> np.ndarray:
        sizes = [self.parameters[name].levels for name in names]
        if math.prod(sizes) > MOST_OF_AN_AGENT:
            why = "a limit" if self.limits else "conditions"
            raise ValueError(
                f"{', '.join(names)} have {math.prod(sizes):,} combinations that hang together by {why}, more than "
                f"{MOST_OF_AN_AGENT:,}: give them fewer levels, or give what {why} does not concern to another agent"
            )
        if not any(self._accepts[name] for name in names):
            return np.stack([axis.ravel() for axis in np.indices(sizes)], 1)
        table = np.array(list(self._rows(list(names), {})))
        for name, levels, number in zip(names, table.T, sizes, strict=True):
            if (levels == number).all():
                raise ValueError(f"{name} is never active: its conditions {self.parameters[name].when} cannot all hold")
        return table

    def _rows(self, names: list[str], levels: dict[str, int]) -> Iterator[list[int]]:
        if not names:
            yield list(levels.values())
            return
        name, *rest = names
        number = self.parameters[name].levels
        for level in range(number) if self.active(name, levels) else [number]:
            yield from self._rows(rest, {**levels, name: level})

    def _feasible(self, names: Sequence[str], table: np.ndarray) -> np.ndarray:
        for i, limit in enumerate(self.limits):
            costs = [limit.of_values(self.values_of(names, row)) for row in table.tolist()]
            allowed = [not limit.misses(cost) for cost in costs]
            if not any(allowed):
                nearest = min(range(len(costs)), key=lambda k, limit=limit, costs=costs: limit.misses(costs[k]))
                before = f" of the {len(costs):,} that keep to the limits before it" if i else ""
                raise Infeasible(
                    f"no combination{before} keeps to the limit of {limit.bounds} {limit.of}: the "
                    f"{'cheapest' if costs[nearest] == min(costs) else 'nearest'}, "
                    f"{self.values_of(names, table[nearest].tolist())}, has {costs[nearest]:,}, which misses it by "
                    f"{limit.misses(costs[nearest]):,}"
                )
            table = table[allowed]
        return table


def matches(parameter: Parameter, given: Value, level: int) -> bool:
    """Whether a stored value is of this level."""
    if level == parameter.levels or not parameter.continuous:
        return level < parameter.levels and same(parameter.stored(level), given)
    try:
        return parameter.level(given) == level
    except ValueError:
        return False
