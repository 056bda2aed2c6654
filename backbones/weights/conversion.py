"""The official names of vHeat's tensors and this project's: one table, read in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Conversion", "convert_checkpoint", "strip_prefixes", "to_official"]

#: Official networks have four stages; where a file lacks one altogether, its tensors are still listed as missing.
_STAGES = 4


class Conversion(NamedTuple):
    """What :func:`convert_checkpoint` returns.

    Attributes:
        state_dict: The tensors under this project's names.
        missing: Official names that a complete file of this depth and form holds and this one does not.
        unexpected: Names of the file that are not official ones.
    """

    state_dict: dict[str, Tensor]
    missing: list[str]
    unexpected: list[str]


# -- the table ------------------------------------------------------------------------------------------------------


class _Layout(NamedTuple):
    """How one official tensor relates to ours."""

    forward: Callable[[Tensor], tuple[Tensor, ...]]
    inverse: Callable[..., Tensor]


def _flatten(t: Tensor) -> tuple[Tensor, ...]:
    if t.ndim not in (2, 4):
        raise ValueError("it must have two dimensions, or four as a 1x1 convolution")
    return (t.flatten(1),)


def _halves(t: Tensor) -> tuple[Tensor, ...]:
    if t.ndim == 0 or t.shape[0] % 2:
        raise ValueError("its first dimension must be even: value, then gate")
    return tuple(half.clone() for half in t.chunk(2))


_SAME = _Layout(lambda t: (t,), lambda t: t)
#: A 1x1 convolution there, a linear layer here.
_POINTWISE = _Layout(_flatten, lambda t: t[:, :, None, None])
#: One linear layer there, two here.
_HALVES = _Layout(_halves, lambda *halves: torch.cat(halves))


class _Rule(NamedTuple):
    """An official name and ours, as templates.

    ``{i}`` is a stage, ``{j}`` a block, ``{n}`` the stage after i, ``{d}`` the depth of stage i, ``{size}`` the grid of
    a precomputed gain. ``form`` says which files hold it.
    """

    official: str
    ours: tuple[str, ...]
    form: str = "any"
    layout: _Layout = _SAME


def _affine(
    official: str, *ours: str, form: str = "any", weight: _Layout = _SAME, bias: _Layout = _SAME
) -> list[_Rule]:
    """The rules of a layer's weight and bias."""
    return [
        _Rule(f"{official}.{name}", tuple(f"{o}.{name}" for o in ours), form, layout)
        for name, layout in (("weight", weight), ("bias", bias))
    ]


_THEIR_BLOCK, _OUR_BLOCK = "layers.{i}.{j}", "stages.{i}.blocks.{j}"
_THEIR_OP, _OUR_MIXER = f"{_THEIR_BLOCK}.op", f"{_OUR_BLOCK}.mixer"

_RULES: list[_Rule] = [
    *_affine("patch_embed.conv1", "stem.conv1"),
    *_affine("patch_embed.norm1.1", "stem.norm1"),
    *_affine("patch_embed.conv2", "stem.conv2"),
    *_affine("patch_embed.norm2.1", "stem.norm2"),
    _Rule("freq_embed.{i}", ("stages.{i}.embedding.weight",), "train"),
    *_affine(f"{_THEIR_BLOCK}.norm1", f"{_OUR_BLOCK}.norm1"),
    *_affine(f"{_THEIR_BLOCK}.norm2", f"{_OUR_BLOCK}.norm2"),
    *_affine(f"{_THEIR_OP}.dwconv", f"{_OUR_MIXER}.dwconv"),
    *_affine(f"{_THEIR_OP}.linear", f"{_OUR_MIXER}.value", f"{_OUR_MIXER}.gate", weight=_HALVES, bias=_HALVES),
    *_affine(f"{_THEIR_OP}.out_norm", f"{_OUR_MIXER}.norm"),
    *_affine(f"{_THEIR_OP}.out_linear", f"{_OUR_MIXER}.proj"),
    *_affine(f"{_THEIR_OP}.to_k.0", f"{_OUR_MIXER}.operator.diffusivity.linear", form="train"),
    _Rule(f"{_THEIR_OP}.k_exp", (f"{_OUR_MIXER}.operator.gain_{{size}}",), "precomputed"),
    *_affine(f"{_THEIR_BLOCK}.mlp.fc1", f"{_OUR_BLOCK}.mlp.fc1", weight=_POINTWISE),
    *_affine(f"{_THEIR_BLOCK}.mlp.fc2", f"{_OUR_BLOCK}.mlp.fc2", weight=_POINTWISE),
    _Rule(f"{_THEIR_BLOCK}.gamma1", (f"{_OUR_BLOCK}.scale1.gamma",), "post-norm"),
    _Rule(f"{_THEIR_BLOCK}.gamma2", (f"{_OUR_BLOCK}.scale2.gamma",), "post-norm"),
    _Rule("layers.{i}.{d}.0.weight", ("stages.{n}.downsample.conv.weight",)),
    *_affine("layers.{i}.{d}.1", "stages.{n}.downsample.norm"),
    *_affine("outnorm{i}", "out_norms.{i}", form="dense"),
    *_affine("classifier.0", "norm", form="classifier"),
    *_affine("classifier.3", "head.fc", form="classifier"),
]

#: Names that older files use.
_ALIASES = {".op.to_time.": ".op.to_k."}


#: What the placeholders stand for. Bounded, so that a name in a file cannot ask for a million stages.
_INDICES = {"i": r"\d{1,2}", "j": r"\d{1,3}", "n": r"\d{1,2}", "d": r"\d{1,3}", "size": r"\d+x\d+"}


def _pattern(template: str) -> re.Pattern[str]:
    pattern = re.escape(template)
    for key, form in _INDICES.items():
        pattern = pattern.replace(re.escape(f"{{{key}}}"), f"(?P<{key}>{form})")
    return re.compile(pattern)


_OFFICIAL = [(_pattern(rule.official), rule) for rule in _RULES]
_OURS = [(_pattern(name), part, rule) for rule in _RULES for part, name in enumerate(rule.ours)]


# -- prefixes -------------------------------------------------------------------------------------------------------


def strip_prefixes(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove ``module.``, ``backbone.`` and ``encoder.`` from the front of names, however they are nested.

    Where some names carry ``backbone.`` or ``encoder.``, the file is that of a larger model, and names without are left
    out as belonging to its other parts.

    Raises:
        ValueError: Two names of the file become the same.

    Example:
        >>> strip_prefixes({"module.backbone.norm.bias": torch.zeros(1), "module.neck.bias": torch.zeros(1)})
        {'norm.bias': tensor([0.])}
    """
    parts = {name: re.fullmatch(r"((?:module\.|backbone\.|encoder\.)*)(.*)", name, re.DOTALL) for name in state_dict}
    inner = {name for name, match in parts.items() if match and re.search("backbone|encoder", match.group(1))}
    result: dict[str, Tensor] = {}
    for name, match in parts.items():
        if match is None or (inner and name not in inner):
            continue
        if match.group(2) in result:
            raise ValueError(f"two tensors of the file are both {match.group(2)!r} once prefixes are removed")
        result[match.group(2)] = state_dict[name]
    return result


# -- official to ours -----------------------------------------------------------------------------------------------


def _depths(names: Iterable[str]) -> list[int]:
    """The depth of each stage, told by the index of its downsampling, else by its highest block."""
    blocks, ends = [1] * _STAGES, {}
    for name in names:
        if match := re.match(r"layers\.(\d{1,2})\.(\d{1,3})\.(\w+)", name):
            stage, index = int(match.group(1)), int(match.group(2))
            if stage >= len(blocks):
                blocks += [1] * (stage + 1 - len(blocks))
            if match.group(3) in ("0", "1"):
                ends[stage] = index
            else:
                blocks[stage] = max(blocks[stage], index + 1)
    return [max(1, ends.get(stage, depth)) for stage, depth in enumerate(blocks)]


def _forms(names: set[str]) -> set[str]:
    dense = any(name.startswith("outnorm") for name in names)
    return {
        "any",
        "precomputed" if any(name.endswith(".op.k_exp") for name in names) else "train",
        "dense" if dense else "classifier",
        *(["post-norm"] if any(name.endswith((".gamma1", ".gamma2")) for name in names) else []),
    }


def _expected(names: set[str]) -> list[str]:
    """Every official name of a complete file with these depths and of this form."""
    depths, forms = _depths(names), _forms(names)
    expected: dict[str, None] = {}
    for stage, depth in enumerate(depths):
        for block in range(depth):
            for rule in _RULES:
                last = "{d}" in rule.official and stage == len(depths) - 1
                if rule.form in forms and not last:
                    expected[rule.official.format(i=stage, j=block, d=depth)] = None
    return list(expected)


def convert_checkpoint(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Give the tensors of an official vHeat file this project's names.

    Reads classification and dense files, in train and in precomputed form, with ``to_time`` for ``to_k`` as in older
    files, and under the prefixes ``module.``, ``backbone.`` and ``encoder.`` in any nesting. In the file of a whole
    detector or segmentor, the tensors of its other parts are left out.

    Args:
        state_dict: Official names to tensors.

    Returns:
        ``(state_dict, missing, unexpected)``, see :class:`Conversion`.

    Raises:
        TypeError: ``state_dict`` is not a mapping of names.
        ValueError: A tensor does not have the form its name promises, or two have the same name.

    Example:
        >>> converted = convert_checkpoint({"module.patch_embed.conv1.bias": torch.zeros(48), "step": torch.zeros(1)})
        >>> list(converted.state_dict), converted.unexpected, converted.missing[0]
        (['stem.conv1.bias'], ['step'], 'patch_embed.conv1.weight')
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(name, str) for name in state_dict):
        raise TypeError(f"state_dict must map names to tensors, got {type(state_dict).__name__}")
    named = {}
    for name, tensor in strip_prefixes(state_dict).items():
        for old, new in _ALIASES.items():
            name = name.replace(old, new)
        if name in named:
            raise ValueError(f"the file holds {name!r} under two names")
        named[name] = tensor
    depths = _depths(named)
    result: dict[str, Tensor] = {}
    unexpected = []
    for name, tensor in named.items():
        found = next(((match, rule) for pattern, rule in _OFFICIAL if (match := pattern.fullmatch(name))), None)
        if found is None or not isinstance(tensor, Tensor):
            unexpected.append(name)
            continue
        match, rule = found
        index = {key: int(value) for key, value in match.groupdict().items()}
        stage = index.get("i", 0)
        if index.get("d", depths[stage] if stage < len(depths) else 0) != depths[stage]:
            unexpected.append(name)
            continue
        size = "x".join(map(str, tensor.shape[:2]))
        if "{size}" in rule.ours[0] and tensor.ndim != 3:
            raise ValueError(f"{name} must have shape (H, W, C), got {tuple(tensor.shape)}")
        try:
            tensors = rule.layout.forward(tensor)
        except ValueError as error:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}: {error}") from error
        for ours, value in zip(rule.ours, tensors, strict=True):
            result[ours.format(**index, n=stage + 1, size=size)] = value
    return Conversion(result, [name for name in _expected(set(named)) if name not in named], unexpected)


# -- ours to official -----------------------------------------------------------------------------------------------


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a vHeat of this project their official names: the inverse of :func:`convert_checkpoint`.

    Args:
        state_dict: ``model.state_dict()`` of a network in train form, or in precomputed form without its source
            (``model.reparameterize([224], keep_source=False)``).

    Returns:
        Official names to tensors, without prefix.

    Raises:
        ValueError: A name has no official one, or half of a split tensor is missing.

    Example:
        >>> list(to_official({"stages.0.blocks.1.mlp.fc1.weight": torch.zeros(8, 2)}))
        ['layers.0.1.mlp.fc1.weight']
    """
    depths: dict[int, int] = {}
    for name in state_dict:
        if match := re.match(r"stages\.(\d+)\.blocks\.(\d+)\.", name):
            stage, block = int(match.group(1)), int(match.group(2))
            depths[stage] = max(depths.get(stage, 0), block + 1)
    parts: dict[str, tuple[_Rule, dict[int, Tensor]]] = {}
    for name, tensor in state_dict.items():
        found = next(((m, part, rule) for pattern, part, rule in _OURS if (m := pattern.fullmatch(name))), None)
        if found is None:
            raise ValueError(f"{name!r} has no official name: only vHeat in train form, or with gains only, has them")
        match, part, rule = found
        index = {key: int(value) for key, value in match.groupdict().items() if key != "size"}
        if "n" in index:
            index["i"] = index["n"] - 1
        official = rule.official.format(**index, d=depths.get(index.get("i", 0), 0))
        collected = parts.setdefault(official, (rule, {}))[1]
        if part in collected:
            raise ValueError(f"official files hold one gain for each block, this one several: {name!r}")
        collected[part] = tensor
    for official, (rule, collected) in parts.items():
        if len(collected) != len(rule.ours):
            raise ValueError(f"{official} is made of {len(rule.ours)} tensors of ours, only {len(collected)} are given")
    return {name: rule.layout.inverse(*(t[p] for p in sorted(t))) for name, (rule, t) in parts.items()}
