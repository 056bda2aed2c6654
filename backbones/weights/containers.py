"""Where a checkpoint keeps a network's weights: in which of its dicts, and under which prefix of their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol, get_args

from torch import Tensor

from backbones.weights.messages import first_names
from backbones.weights.reading import MAX_DEPTH, Inert

__all__ = ["NamesOf", "Weights", "check_weights", "find_weights", "names_in", "without_prefix"]

Weights = Literal["raw", "ema"]


class _Table(Protocol):
    """What is asked of :class:`~backbones.weights.names.NameTable` here."""

    def prefixes(self, names: Iterable[str], *, marked: bool = True) -> Counter[str]: ...


class NamesOf:
    """The tensor names of any one model, in the place of a table: its weights, whatever a trainer put them into.

    Args:
        names: Of ``model.state_dict()``.

    Example:
        >>> NamesOf(["fc.weight"]).prefixes(["module.fc.weight", "module.fc.bias", "step"])
        Counter({'module.': 1})
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)

    def prefixes(self, names: Iterable[str], *, marked: bool = True) -> Counter[str]:
        """See :meth:`backbones.weights.names.NameTable.prefixes`."""
        starts = ((name, [0, *(i + 1 for i, letter in enumerate(name) if letter == ".")]) for name in names)
        found = (next((name[:i] for i in at if name[i:] in self.names), None) for name, at in starts)
        return Counter(prefix for prefix in found if prefix is not None)


class _Place(NamedTuple):
    path: tuple[str, ...]
    prefix: str
    state: Mapping[Any, Any]

    def __str__(self) -> str:
        return ".".join(self.path) + (f" under {self.prefix!r}" if self.prefix else "") or "the top"

    @property
    def averaged(self) -> bool:
        words = {word for part in (*self.path, *self.prefix.split(".")) for word in part.lower().split("_")}
        return not words.isdisjoint(("ema", "average", "averaged"))


def check_weights(weights: str) -> None:
    """Raise ``ValueError`` for another argument than ``"raw"`` and ``"ema"``."""
    if weights not in get_args(Weights):
        raise ValueError(f"weights must be one of {get_args(Weights)}, got {weights!r}")


def find_weights(
    checkpoint: Mapping[str, Any], weights: Weights, tables: Iterable[_Table], prefix: str | None = None
) -> dict[str, Tensor]:
    """The tensors of the one network in a checkpoint that a table knows, their names without what stands before them.

    Trainers wrap networks (``module.``, ``_orig_mod.``), make them attributes of others (``model.``, ``backbone.``) and
    put their weights into dicts (``state_dict``, ``model``), all that in any nesting. So they are looked for by the
    names of the network itself: at any depth, behind any prefix. What has another prefix belongs to other parts.

    Args:
        checkpoint: What a file holds.
        weights: ``"raw"``, or ``"ema"`` for the moving average, which has ``ema`` or ``average`` in the name of its
            dict or prefix.
        tables: Of the names of networks.
        prefix: What must stand before the names, ``"backbone."`` for example; None for anything.

    Raises:
        ValueError: There is none, or not of that kind, or several, or a tensor of it is an object of an unknown class.
    """
    tables = list(tables)
    places = [
        _Place(path, before, state)
        for path, state in _dicts(checkpoint)
        for before in sorted({p for table in tables for p in table.prefixes(_names(state))})
    ]
    if places and prefix is not None:
        found = sorted({place.prefix for place in places})
        places = [place for place in places if place.prefix == prefix]
        if not places:
            raise ValueError(f"prefix={prefix!r}: the file's networks have the prefixes {found}")
    if not places:
        held = [name for _, state in _dicts(checkpoint) for name in _names(state) if isinstance(state[name], Tensor)]
        raise ValueError(f"it holds the tensors of no network of this project ({first_names(held or checkpoint)})")
    averages = [_is_average(place, checkpoint) for place in places]
    kinds: dict[str, list[_Place]] = {"raw": [], "ema": []}
    for place, average in zip(places, averages, strict=True):
        kinds["ema" if average else "raw"].append(place)
    chosen = kinds[weights]
    if len(chosen) != 1:
        found = "; ".join(f"{kind} in {', '.join(map(str, p))}" for kind, p in kinds.items() if p)
        what = "no such weights" if not chosen else "several networks"
        hint = "; give prefix= what stands before the one meant" if len(chosen) > 1 and prefix is None else ""
        raise ValueError(f"weights={weights!r}: the file holds {what} ({found}); save the one meant alone{hint}")
    place = chosen[0]
    inner = without_prefix(place.state, place.prefix)
    for name, value in inner.items():
        if isinstance(value, Inert):
            kind = type(value)
            raise ValueError(
                f"{name} of its weights is a pickled {kind.__module__}.{kind.__qualname__}, which cannot be read safely"
            )
    return {name: value for name, value in inner.items() if isinstance(value, Tensor)}


def _is_average(place: _Place, checkpoint: Mapping[str, Any]) -> bool:
    """By its name; but mmengine's and Lightning's hooks store the average as the model, and the model beside it."""
    if "current_model_state" in checkpoint:
        return place.path[:1] != ("current_model_state",)
    return place.averaged != ("ema_state_dict" in checkpoint)


def without_prefix(state: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """What of a state dict has a prefix, without it."""
    return {name[len(prefix) :]: state[name] for name in _names(state) if name.startswith(prefix)}


def names_in(checkpoint: Mapping[str, Any]) -> list[str]:
    """The names of all tensors in a checkpoint, whatever dict they are in, with their prefixes."""
    held = ((state, name) for _, state in _dicts(checkpoint) for name in _names(state))
    return list(dict.fromkeys(name for state, name in held if isinstance(state[name], Tensor)))


def _names(state: Mapping[Any, Any]) -> list[str]:
    return [name for name in state if isinstance(name, str)]


def _dicts(value: Mapping[Any, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """All dicts in a dict, itself first."""
    yield path, value
    for name, inner in value.items():
        if isinstance(inner, Mapping) and len(path) < MAX_DEPTH:
            yield from _dicts(inner, (*path, str(name)))
