"""What a YAML file may hold, said in one line where it holds something else."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any


def mapping(value: Any, name: str) -> dict[str, Any]:
    """A mapping whose keys are names, not empty."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{name} must be a mapping with at least one entry, got {value!r}")
    if wrong := [key for key in value if not isinstance(key, str) or not key or set(key) & set("/\\: ")]:
        raise ValueError(f"{name}: names are texts without spaces, colons and slashes, got {wrong[0]!r}")
    return dict(value)


def keys(value: Mapping[str, Any], name: str, accepted: Iterable[str], needed: Iterable[str] = ()) -> None:
    """Every key is known, and those that are needed are there."""
    accepted = list(accepted)
    for key in value:
        if key not in accepted:
            raise ValueError(f"{name}: unknown key {key!r}{meant(key, accepted)}; accepted are {', '.join(accepted)}")
    for key in needed:
        if key not in value:
            raise ValueError(f"{name}: {key} is missing")


def meant(given: str, accepted: Iterable[str]) -> str:
    """A guess at what was meant."""
    close = difflib.get_close_matches(str(given), list(accepted), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def one_of(value: Any, name: str, accepted: Collection[str]) -> str:
    """One of some words."""
    if value not in accepted or not isinstance(value, str):
        raise ValueError(f"{name}: unknown {value!r}{meant(value, accepted)}; accepted are {', '.join(accepted)}")
    return value


def distinct(value: Any, name: str, check: Callable[[Any, str], Any]) -> tuple[Any, ...]:
    """A list without repetitions, not empty, each of whose items passes a check."""
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f"{name} must be a list with at least one item, got {value!r}")
    found = tuple(check(item, f"{name}[{i}]") for i, item in enumerate(value))
    if len(set(found)) < len(found):
        raise ValueError(f"{name}: something stands there twice: {list(found)}")
    return found


def whole_number(value: Any, name: str, least: int = 0) -> int:
    """An integer that is large enough."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
    return value


def positive(value: Any, name: str) -> float:
    """A finite number above 0; YAML reads 1e-3 as a text, which is taken."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 < number < float("inf"):
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    return number


def share(value: Any, name: str) -> float:
    """A part of a whole: above 0, and 1 at most."""
    if positive(value, name) > 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value!r}")
    return float(value)
