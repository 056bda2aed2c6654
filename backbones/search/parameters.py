"""The parameters of a search space: what values each has, which levels a policy chooses among, and their order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

__all__ = ["Choice", "Float", "IntRange", "LogFloat", "Ordinal", "Parameter", "Value", "When"]

#: What a parameter can be: what every storage of Optuna keeps.
Value = None | bool | int | float | str
#: When a parameter is active: for each other parameter of its agent that decides, the values at which it is.
When = Mapping[str, Value | Sequence[Value]]


def plain(given: Any) -> Any:
    """A number of NumPy's as Python's own, which storages keep; anything else as it is."""
    return given.item() if isinstance(given, np.generic) else given


def same(a: Value, b: Value) -> bool:
    """Whether two values are one: ``True`` is not 1 here."""
    a, b = plain(a), plain(b)
    return a == b and isinstance(a, bool) == isinstance(b, bool)


@dataclass(frozen=True)
class Parameter:
    """A parameter with a finite number of levels.

    Attributes:
        when: Conditions, all of which must hold for the parameter to be active; always where there are none.
    """

    when: When = field(default_factory=dict, kw_only=True)
    #: Whether neighbouring levels are alike, so that what is found at one says something about the next.
    ordered = True

    def __post_init__(self) -> None:
        if not isinstance(self.when, Mapping):
            raise TypeError(f"when must map names of parameters to values, got {self.when!r}")
        conditions = {}
        for name, values in self.when.items():
            values = tuple(values) if isinstance(values, Sequence) and not isinstance(values, str) else (values,)
            if not values:
                raise ValueError(f"when[{name!r}] must name at least one value, or the parameter is never active")
            conditions[name] = values
        object.__setattr__(self, "when", conditions)

    @property
    def levels(self) -> int:
        """How many levels there are."""
        raise NotImplementedError

    @property
    def continuous(self) -> bool:
        """Whether a level is an interval of values instead of one."""
        return False

    @property
    def distribution(self) -> BaseDistribution:
        """The parameter as Optuna has it. What it stores of an :class:`Ordinal` is the index of the level."""
        raise NotImplementedError

    def stored(self, level: int, share: float = 0.5) -> Value:
        """What Optuna stores for a level; ``share`` in [0, 1) places a continuous value within its interval."""
        raise NotImplementedError

    def level(self, stored: Value) -> int:
        """The level of a stored value, inverse of :meth:`stored`."""
        raise NotImplementedError

    def value(self, stored: Value) -> Value:
        """What an objective gets for a stored value."""
        return stored

    def to_stored(self, value: Value) -> Value:
        """What is stored for a value of an objective, inverse of :meth:`value`.

        Raises:
            ValueError: The parameter has no such value.
        """
        return value

    def describe(self) -> dict[str, Any]:
        """All that makes it this parameter, as JSON has it."""
        raise NotImplementedError

    def _described(self, **what: Any) -> dict[str, Any]:
        conditions = {name: list(values) for name, values in self.when.items()}
        return {"type": type(self).__name__, **what, **({"when": conditions} if conditions else {})}


@dataclass(frozen=True)
class Choice(Parameter):
    """One of several values without an order, such as names.

    Args:
        choices: At least one; strings, numbers, bools or None, each once.
        when: See :class:`Parameter`.

    Raises:
        TypeError: A choice is something else.
        ValueError: There is none, or one twice.

    Example:
        >>> Choice(["heat", "wave"]).levels
        2
    """

    choices: Sequence[Value]
    ordered = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "choices", _distinct(self.choices))

    @property
    def levels(self) -> int:
        return len(self.choices)

    @property
    def distribution(self) -> BaseDistribution:
        return CategoricalDistribution(self.choices)

    def stored(self, level: int, share: float = 0.5) -> Value:
        return self.choices[level]

    def level(self, stored: Value) -> int:
        for i, choice in enumerate(self.choices):
            if same(choice, stored):
                return i
        raise ValueError(f"must be one of {list(self.choices)}, got {stored!r}")

    def to_stored(self, value: Value) -> Value:
        return self.choices[self.level(value)]

    def describe(self) -> dict[str, Any]:
        return self._described(choices=list(self.choices))


@dataclass(frozen=True)
class Ordinal(Parameter):
    """One of several values in an order, such as widths: neighbours are expected to do alike.

    Optuna stores the index of the level, an int from 0, so that its other samplers know the order, too.

    Args:
        choices: In their order, each once.
        when: See :class:`Parameter`.

    Example:
        >>> width = Ordinal([16, 32, 64])
        >>> width.distribution, width.value(2)
        (IntDistribution(high=2, log=False, low=0, step=1), 64)
    """

    choices: Sequence[Value]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "choices", _distinct(self.choices))

    @property
    def levels(self) -> int:
        return len(self.choices)

    @property
    def distribution(self) -> BaseDistribution:
        return IntDistribution(0, len(self.choices) - 1)

    def stored(self, level: int, share: float = 0.5) -> Value:
        return int(level)

    def level(self, stored: Value) -> int:
        return _whole(stored, 0, len(self.choices) - 1)

    def value(self, stored: Value) -> Value:
        return self.choices[self.level(stored)]

    def to_stored(self, value: Value) -> Value:
        for i, choice in enumerate(self.choices):
            if same(choice, value):
                return i
        raise ValueError(f"must be one of {list(self.choices)}, got {value!r}")

    def describe(self) -> dict[str, Any]:
        return self._described(choices=list(self.choices))


@dataclass(frozen=True)
class IntRange(Parameter):
    """Whole numbers from ``low`` to ``high``, both included.

    Args:
        low, high: The ends; ``high`` is lowered to the last that is reached from ``low``.
        step: From one to the next.
        when: See :class:`Parameter`.

    Raises:
        ValueError: ``low`` is above ``high``, ``step`` below 1, or they are no ints.

    Example:
        >>> IntRange(1, 6, step=2).distribution.high
        5
    """

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = tuple(plain(getattr(self, name)) for name in ("low", "high", "step"))
        low, high, step = numbers
        if any(not isinstance(n, int) or isinstance(n, bool) for n in numbers) or low > high or step < 1:
            raise ValueError(
                f"low <= high and step >= 1 must be ints, got low={self.low!r}, high={self.high!r}, step={self.step!r}"
            )
        for name, number in (("low", low), ("high", high - (high - low) % step), ("step", step)):
            object.__setattr__(self, name, number)

    @property
    def levels(self) -> int:
        return (self.high - self.low) // self.step + 1

    @property
    def distribution(self) -> BaseDistribution:
        return IntDistribution(self.low, self.high, step=self.step)

    def stored(self, level: int, share: float = 0.5) -> Value:
        return self.low + self.step * int(level)

    def level(self, stored: Value) -> int:
        number = _whole(stored, self.low, self.high)
        if (number - self.low) % self.step:
            raise ValueError(f"must be {self.low} plus a multiple of {self.step}, got {stored!r}")
        return (number - self.low) // self.step

    def to_stored(self, value: Value) -> Value:
        return self.stored(self.level(value))

    def describe(self) -> dict[str, Any]:
        return self._described(low=self.low, high=self.high, step=self.step)


@dataclass(frozen=True)
class Float(Parameter):
    """Any number from ``low`` to ``high``. The policy chooses among equal intervals, and a value is drawn within one.

    Args:
        low, high: The ends.
        bins: Number of intervals.
        when: See :class:`Parameter`.

    Raises:
        ValueError: ``low`` is not below ``high``, an end is not finite, or ``bins`` is below 1.

    Example:
        >>> decay = Float(0.0, 0.5, bins=5)
        >>> decay.stored(1, share=0.5), decay.level(0.15)
        (0.15, 1)
    """

    low: float
    high: float
    bins: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("low", "high"):
            given = plain(getattr(self, name))
            if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given):
                raise ValueError(f"{name} must be a finite number, got {given!r}")
            object.__setattr__(self, name, float(given))
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"high - low must be finite, got {self.low} and {self.high}")
        object.__setattr__(self, "bins", plain(self.bins))
        if not isinstance(self.bins, int) or isinstance(self.bins, bool) or self.bins < 1:
            raise ValueError(f"bins must be an int of at least 1, got {self.bins!r}")

    @property
    def levels(self) -> int:
        return self.bins

    @property
    def continuous(self) -> bool:
        return True

    @property
    def distribution(self) -> BaseDistribution:
        return FloatDistribution(self.low, self.high)

    def stored(self, level: int, share: float = 0.5) -> Value:
        at = (int(level) + share) / self.bins
        return float(min(max(self._at(at), self.low), self.high))

    def level(self, stored: Value) -> int:
        return min(int(self._share(self.to_stored(stored)) * self.bins), self.bins - 1)

    def to_stored(self, value: Value) -> Value:
        value = plain(value)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high:
            raise ValueError(f"must be a number from {self.low} to {self.high}, got {value!r}")
        return float(value)

    def describe(self) -> dict[str, Any]:
        return self._described(low=self.low, high=self.high, bins=self.bins)

    def _at(self, share: float) -> float:
        return self.low + share * (self.high - self.low)

    def _share(self, value: Any) -> float:
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class LogFloat(Float):
    """As :class:`Float`, its intervals equal in the logarithm, such as for learning rates.

    Raises:
        ValueError: ``low`` is not above 0, or as for :class:`Float`.

    Example:
        >>> LogFloat(1e-4, 1e-1, bins=3).level(2e-3)
        1
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise ValueError(f"low must be above 0, got {self.low}")
        if not math.isfinite(self.high / self.low):
            raise ValueError(f"high / low must be finite, got {self.low} and {self.high}")

    @property
    def distribution(self) -> BaseDistribution:
        return FloatDistribution(self.low, self.high, log=True)

    def _at(self, share: float) -> float:
        return math.exp(math.log(self.low) + share * math.log(self.high / self.low))

    def _share(self, value: Any) -> float:
        return math.log(value / self.low) / math.log(self.high / self.low)


def _distinct(given: Sequence[Value]) -> tuple[Value, ...]:
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(f"choices must be a sequence, got {given!r}")
    given = [plain(choice) for choice in given]
    for i, choice in enumerate(given):
        if choice is not None and not isinstance(choice, (bool, int, float, str)):
            raise TypeError(f"choices must be strings, numbers, bools or None, got {choice!r}")
        if isinstance(choice, float) and not math.isfinite(choice):
            raise ValueError(f"choices must be finite, got {choice!r}")
        # Optuna's categoricals cannot tell True from 1, so both may not stand in one.
        if any(choice == other for other in given[:i]):
            raise ValueError(f"choices must differ, got {choice!r} twice in {given}")
    if not given:
        raise ValueError("choices must not be empty")
    return tuple(given)


def _whole(given: Value, low: int, high: int) -> int:
    given = plain(given)
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not number or not low <= given <= high or given != int(given):
        raise ValueError(f"must be a whole number from {low} to {high}, got {given!r}")
    return int(given)
