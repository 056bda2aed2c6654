"""Tables of tensor names: what the official files of a family call them and what this project does, read both ways.

A family whose authors published weights has one :class:`NameTable`, in a file of its own beside this one, and a place
in :data:`~backbones.weights.conversion.TABLES`; whatever reads and loads weights takes it from there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

__all__ = ["SAME", "Conversion", "Layout", "NameTable", "Rule", "affine"]


class Layout(NamedTuple):
    """How one official tensor relates to ours: in parts, or of another shape."""

    forward: Callable[[Tensor], tuple[Tensor, ...]]
    inverse: Callable[..., Tensor]


SAME = Layout(lambda t: (t,), lambda t: t)


class Rule(NamedTuple):
    """An official name and ours, as templates.

    ``{i}`` is a stage, ``{j}`` a block, ``{n}`` the stage after i, ``{d}`` the depth of stage i, ``{size}`` the grid of
    a precomputed gain. ``form`` says which files hold it, ``"any"`` for all.
    """

    official: str
    ours: tuple[str, ...]
    form: str = "any"
    layout: Layout = SAME


def affine(official: str, *ours: str, form: str = "any", weight: Layout = SAME, bias: Layout = SAME) -> list[Rule]:
    """The rules of a layer's weight and bias."""
    return [
        Rule(f"{official}.{name}", tuple(f"{o}.{name}" for o in ours), form, layout)
        for name, layout in (("weight", weight), ("bias", bias))
    ]


class Conversion(NamedTuple):
    """What :func:`backbones.convert_checkpoint` returns.

    Attributes:
        state_dict: The tensors under this project's names.
        missing: Official names that a complete file of this depth and form holds and this one does not.
        unexpected: Names of the file that are not official ones.
        reasons: Why each of the unexpected is left out.
    """

    state_dict: dict[str, Tensor]
    missing: list[str]
    unexpected: list[str]
    reasons: dict[str, str]


#: What the placeholders stand for. Bounded, so that a name in a file cannot ask for a million stages.
_INDICES = {"i": r"\d{1,2}", "j": r"\d{1,3}", "n": r"\d{1,2}", "d": r"\d{1,3}", "size": r"\d+x\d+"}


def _pattern(template: str) -> re.Pattern[str]:
    pattern = re.escape(template)
    for key, form in _INDICES.items():
        pattern = pattern.replace(re.escape(f"{{{key}}}"), f"(?P<{key}>{form})")
    return re.compile(pattern)


class _Found(NamedTuple):
    """Where a name stands in a table: its rule, which of the rule's parts it is, and its stage and block."""

    rule: Rule
    part: int
    index: dict[str, int]


_Patterns = list[tuple[re.Pattern[str], int, Rule]]


def _find(name: str, patterns: _Patterns) -> _Found | None:
    for pattern, part, rule in patterns:
        if match := pattern.fullmatch(name):
            return _Found(rule, part, {k: int(v) for k, v in match.groupdict().items() if k != "size"})
    return None


class NameTable:
    """The official names of a family and ours.

    Args:
        rules: One for each tensor of a file.
        aliases: Parts of names that older files have, to those of the rules.
        marks: Official names of rules, one of which at least every file of the family holds and no other network's
            does; they and their counterparts of ours tell whose file it is. By default all rules are.
        instead: Forms of files to those that they take the place of: a precomputed file has no rules of form
            ``"train"``. Other forms than these and ``"any"`` are an addition.
        stages: How many every official network has: where a file lacks one altogether, its tensors are still missing.
        misfit: From a model and the tensors of an official file, why they do not belong together where names and
            shapes do not tell; ``""`` where they do.
        reasons: Why a tensor that no rule is for is left out, by regular expressions of its name.
        beside: How the names begin of what official files hold beside the network, without the prefix of its names: it
            is reported as left out, too.
        own: Regular expressions of names of ours that no official file has, and that are dropped on the way there.

    Example:
        >>> import torch
        >>> table = NameTable(affine("patch_embed.{i}", "stem.conv{i}"), {"embed_patch.": "patch_embed."})
        >>> table.recognises(["embed_patch.0.bias"]), table.recognises(["stem.0.bias"])
        (True, False)
        >>> table.to_ours({"embed_patch.0.bias": torch.zeros(1)})[:3]
        ({'stem.conv0.bias': tensor([0.])}, ['patch_embed.0.weight'], [])
        >>> table.to_official({"stem.conv0.bias": torch.zeros(1)})
        {'patch_embed.0.bias': tensor([0.])}
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        aliases: Mapping[str, str] | None = None,
        *,
        marks: Sequence[str] | None = None,
        instead: Mapping[str, str] | None = None,
        stages: int = 1,
        misfit: Callable[[nn.Module, Mapping[str, Tensor]], str] = lambda model, state: "",
        reasons: Mapping[str, str] | None = None,
        beside: Sequence[str] = (),
        own: Sequence[str] = (),
    ) -> None:
        self.rules = list(rules)
        self.aliases = dict(aliases or {})
        self.instead = dict(instead or {})
        self.stages = stages
        self.misfit = misfit
        self.reasons = dict(reasons or {})
        self.beside = tuple(beside)
        self.own = tuple(own)
        self._official: _Patterns = [(_pattern(rule.official), 0, rule) for rule in self.rules]
        self._ours: _Patterns = [(_pattern(n), part, rule) for rule in self.rules for part, n in enumerate(rule.ours)]
        self._marked = [rule for rule in self.rules if marks is None or rule.official in marks]

    # -- whose file it is -------------------------------------------------------------------------------------------

    def recognises(self, names: Iterable[str]) -> bool:
        """Whether a file with these names is an official one of the family."""
        return self._any_marked(map(self._present_name, names), self._official)

    def recognises_ours(self, names: Iterable[str]) -> bool:
        """Whether a file with these names is one of this project, of the family or of its relatives."""
        return self._any_marked(names, self._ours)

    def count(self, names: Iterable[str]) -> int:
        """How many of the names are official ones."""
        return sum(_find(self._present_name(name), self._official) is not None for name in names)

    def prefixes(self, names: Iterable[str], *, marked: bool = True) -> Counter[str]:
        """What stands before names of the family's, official or ours, and how often.

        Args:
            names: Of a file, such as ``"module.backbone.stem.conv1.weight"``.
            marked: Look for the marks of the family only.
        """
        rules = self._marked if marked else self.rules
        patterns = [pattern for pattern, _, rule in (*self._official, *self._ours) if rule in rules]
        found: Counter[str] = Counter()
        for name in names:
            starts = [0, *(i + 1 for i, letter in enumerate(name) if letter == ".")]
            inner = ((name[:i], self._present_name(name[i:])) for i in starts)
            if (prefix := next((p for p, rest in inner if any(q.fullmatch(rest) for q in patterns)), None)) is not None:
                found[prefix] += 1
        return found

    def with_beside(self, converted: Conversion, names: Iterable[str]) -> Conversion:
        """The conversion of a network's tensors, with what the file holds beside it among the unexpected.

        Args:
            converted: What :meth:`to_ours` made of the tensors under the network's prefix.
            names: Of the whole file, with prefixes.
        """
        known = set(converted.unexpected)
        others = [n for n in names if self.beside and n.startswith(self.beside) and n not in known]
        reasons = {**converted.reasons, **{name: self.why_not(name) for name in others}}
        return converted._replace(unexpected=[*converted.unexpected, *others], reasons=reasons)

    def _any_marked(self, names: Iterable[str], patterns: _Patterns) -> bool:
        marked = [pattern for pattern, _, rule in patterns if rule in self._marked]
        return any(pattern.fullmatch(name) for name in names for pattern in marked)

    def _present_name(self, name: str) -> str:
        for old, new in self.aliases.items():
            name = name.replace(old, new)
        return name

    # -- official to ours -------------------------------------------------------------------------------------------

    def to_ours(self, state: Mapping[str, Tensor]) -> Conversion:
        """Give official tensors this project's names.

        Raises:
            ValueError: A tensor does not have the form its name promises, or two have the same name.
        """
        named: dict[str, Tensor] = {}
        for name, tensor in state.items():
            name = self._present_name(name)
            if name in named:
                raise ValueError(f"the file holds {name!r} under two names")
            named[name] = tensor
        places = {name: found for name in named if (found := _find(name, self._official))}
        depths = self._depths(places.values())
        result: dict[str, Tensor] = {}
        unexpected = []
        for name, tensor in named.items():
            found = places.get(name)
            if found is None or not isinstance(tensor, Tensor) or not _at_its_end(found, depths):
                unexpected.append(name)
                continue
            size = "x".join(map(str, tensor.shape[:2]))
            if "{size}" in found.rule.ours[0] and tensor.ndim != 3:
                raise ValueError(f"{name} must have shape (H, W, C), got {tuple(tensor.shape)}")
            try:
                tensors = found.rule.layout.forward(tensor)
            except ValueError as error:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}: {error}") from error
            for ours, value in zip(found.rule.ours, tensors, strict=True):
                result[ours.format(**found.index, n=found.index.get("i", 0) + 1, size=size)] = value
        expected = self._expected(depths, {found.rule.form for found in places.values()})
        missing = [name for name in expected if name not in named]
        return Conversion(result, missing, unexpected, {name: self.why_not(name) for name in unexpected})

    def why_not(self, name: str) -> str:
        """Why a tensor of this official name, which no rule is for, is left out."""
        fitting = (reason for pattern, reason in self.reasons.items() if re.fullmatch(pattern, name))
        return next(fitting, "no network of this project has such a tensor")

    def _depths(self, places: Iterable[_Found]) -> list[int]:
        """The depth of each stage, told by what comes after its blocks, else by its highest block."""
        blocks, ends = dict.fromkeys(range(self.stages), 1), {}
        for found in places:
            stage = found.index.get("i", 0)
            if "d" in found.index:
                ends[stage] = max(1, found.index["d"])
            if "d" in found.index or "j" in found.index:
                blocks[stage] = max(blocks.get(stage, 1), found.index.get("j", 0) + 1)
        return [ends.get(stage, blocks.get(stage, 1)) for stage in range(max(blocks) + 1)]

    def _expected(self, depths: list[int], seen: set[str]) -> list[str]:
        """Every official name of a complete file with these depths, of the forms that are seen."""
        forms = {"any"} | seen | {usual for form, usual in self.instead.items() if form not in seen}
        forms -= {usual for form, usual in self.instead.items() if form in seen}
        expected: dict[str, None] = {}
        for stage, depth in enumerate(depths):
            for block in range(depth):
                for rule in self.rules:
                    last = "{d}" in rule.official and stage == len(depths) - 1
                    if rule.form in forms and not last:
                        expected[rule.official.format(i=stage, j=block, d=depth)] = None
        return list(expected)

    # -- ours to official -------------------------------------------------------------------------------------------

    def to_official(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give tensors of this project their official names: the inverse of :meth:`to_ours`.

        Raises:
            ValueError: A name has no official one, or half of a split tensor is missing.
        """
        places: dict[str, _Found] = {}
        depths: dict[int, int] = {}
        state = {n: t for n, t in state.items() if not any(re.fullmatch(pattern, n) for pattern in self.own)}
        for name in state:
            found = _find(name, self._ours)
            if found is None:
                raise ValueError(
                    f"{name!r} has no official name: only published networks have, in train form or with gains only"
                )
            if "n" in found.index:
                found.index["i"] = found.index["n"] - 1
            places[name], stage = found, found.index.get("i", 0)
            depths[stage] = max(depths.get(stage, 0), found.index.get("j", -1) + 1)
        parts: dict[str, tuple[Rule, dict[int, Tensor]]] = {}
        for name, (rule, part, index) in places.items():
            official = rule.official.format(**index, d=depths[index.get("i", 0)])
            collected = parts.setdefault(official, (rule, {}))[1]
            if part in collected:
                raise ValueError(f"official files hold one gain for each block, this one several: {name!r}")
            collected[part] = state[name]
        for official, (rule, collected) in parts.items():
            if len(collected) != len(rule.ours):
                raise ValueError(
                    f"{official} is made of {len(rule.ours)} tensors of ours, only {len(collected)} are given"
                )
        return {name: rule.layout.inverse(*(t[p] for p in sorted(t))) for name, (rule, t) in parts.items()}


def _at_its_end(found: _Found, depths: list[int]) -> bool:
    """Whether what comes after the blocks of a stage has the index after theirs."""
    return "d" not in found.index or found.index["d"] == depths[found.index.get("i", 0)]
