"""How long lists are shortened in error messages."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["first_names", "listed"]

_SHOWN = 3


def first_names(names: Iterable[object]) -> str:
    """The first of them, separated by commas."""
    found = [str(name) for name in names]
    return ", ".join([*found[:_SHOWN], *(["..."] if len(found) > _SHOWN else [])]) or "none at all"


def listed(misfits: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = f"; and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
    return "; ".join(misfits[:_SHOWN]) + more
