"""Putting tensors into a network: everything is checked before anything is changed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from backbones.deployment import gain_misfits, place_gains
from backbones.hivit import HiViT
from backbones.hivit.positions import RelativeBias
from backbones.network import SpectralNet
from backbones.remote_sensing import BilinearMap, ModalityStem, ModalityStems
from backbones.weights.containers import Weights, check_weights
from backbones.weights.conversion import Named, own_names
from backbones.weights.identification import describe
from backbones.weights.messages import listed
from backbones.weights.names import NameTable
from backbones.weights.reading import read_checkpoint
from backbones.weights.resizing import resizable, resized_like
from spectral_ops import Precomputed, SpectralEmbedding, SpectralMixer
from spectral_ops.embedding import RESIZE_RULES, ResizeRule

__all__ = [
    "OPTIONAL",
    "Fit",
    "LoadReport",
    "fit",
    "load_checkpoint",
    "read_named",
    "read_weights",
    "resized_embeddings",
]


class LoadReport(NamedTuple):
    """What :func:`load_checkpoint` did.

    Attributes:
        missing: Tensors of the model that the file does not hold and that keep their values (a classifier, the norms
            of dense outputs, biases by relative position, which start at zero).
        unexpected: Tensors of the file that the model has no place for.
        resized: Embeddings, positions and biases that were resized, with their sizes in the file and in the model.
        reasons: Why each of the missing and of the unexpected is not loaded.
    """

    missing: list[str]
    unexpected: list[str]
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    reasons: dict[str, str]


def load_checkpoint(
    model: SpectralNet | HiViT,
    path: str | os.PathLike[str],
    resize: ResizeRule | None = "bicubic",
    weights: Weights = "raw",
    leave_out: Sequence[str] = (),
    prefix: str | None = None,
) -> LoadReport:
    """Load an official file, or one of this project, into a network.

    Reads classification and dense files, in train and in precomputed form, of official and of own names, also as the
    backbone of a whole detector or segmentor, as timm, Lightning, accelerate, mmengine, DistributedDataParallel,
    torch.compile and other trainers write them, and safely (:func:`~backbones.read_checkpoint`).
    A file in precomputed form puts its gains in the place of the physics: the network then runs at its grid only.

    Args:
        model: A network of this project, for classification or dense outputs.
        path: The file.
        resize: How spectral embeddings are carried over to the sizes of the model: ``"bicubic"``, ``"pad"`` (see
            :func:`~spectral_ops.resize_embedding`), or None where other sizes are an error. HiViT's positions and
            biases know ``"bicubic"`` and None; RS-vHeat's maps are resized bilinearly, as published, unless None.
        weights: ``"raw"``, or ``"ema"`` for the moving average where the file holds one.
        leave_out: Names, as patterns such as ``"*.bias.table"`` or ``"pyramid.*"``, of what is not to be loaded: the
            file's tensors are passed over, the model's keep their values.
        prefix: What must stand before the network's names in the file, ``"backbone."`` for example; by default they are
            found behind any.

    Returns:
        ``(missing, unexpected, resized, reasons)``, see :class:`LoadReport`. Only a classifier, the norms of dense
        outputs and stages beyond the model's last can be missing or unexpected, and of HiViT biases by relative
        position missing, and a pyramid or a decoder unexpected where the model has none at all; and of RS-vHeat the
        stems of modalities that the model does not have unexpected. All else must fit exactly, unless it is left out.

    Raises:
        TypeError: ``model`` is neither a :class:`~backbones.SpectralNet` nor a :class:`~backbones.hivit.HiViT`.
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read or does not fit the model, or an argument is unknown; nothing is changed.

    Example:
        >>> import tempfile
        >>> import timm
        >>> path = os.path.join(tempfile.mkdtemp(), "nano.pth")
        >>> torch.save(timm.create_model("vheat_nano", num_classes=10).state_dict(), path)
        >>> report = load_checkpoint(timm.create_model("vheat_nano", num_classes=0, img_size=256), path)
        >>> report.unexpected, report.resized["stages.3.embedding.weight"]
        (['head.fc.weight', 'head.fc.bias'], ((7, 7), (8, 8)))
    """
    if not isinstance(model, (SpectralNet, HiViT)):
        raise TypeError(f"model must be a backbones.SpectralNet or HiViT, got {type(model).__name__}")
    if resize is not None and resize not in RESIZE_RULES:
        raise ValueError(f"resize must be one of {RESIZE_RULES} or None, got {resize!r}")
    named = read_named(path, weights, prefix)
    try:
        found = fit(model, named.tensors, resize=resize, table=named.table, leave_out=leave_out)
    except ValueError as error:
        raise ValueError(f"cannot load {path}: {error}") from error
    targets = model.state_dict()
    if found.gains:
        place_gains(model, found.gains)
    with torch.no_grad():
        for name, value in found.tensors.items():
            targets[name].copy_(value)
    unexpected, reasons = named.unexpected + found.unexpected, {**named.reasons, **found.reasons}
    return LoadReport(found.missing, unexpected, found.resized, reasons)


def read_weights(path: str | os.PathLike[str], weights: Weights = "raw") -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file under this project's names, and the names in it that are nobody's.

    Args:
        path, weights: See :func:`load_checkpoint`.

    Raises:
        FileNotFoundError, ValueError: As :func:`load_checkpoint`.
    """
    named = read_named(path, weights)
    return named.tensors, named.unexpected


def read_named(path: str | os.PathLike[str], weights: Weights = "raw", prefix: str | None = None) -> Named:
    """:func:`read_weights`, and whose names the file bore."""
    check_weights(weights)
    checkpoint = read_checkpoint(path)
    try:
        return own_names(checkpoint, weights, prefix)
    except ValueError as error:
        raise ValueError(f"cannot load {path}: {error}") from error


# -- tensors and a model ----------------------------------------------------------------------------------------------

#: What a network may lack and a file need not hold: final norm, classifier, and the norms of dense outputs.
OPTIONAL = ("norm.", "head.", "out_norms.")
#: What files of a HiViT hold beside it.
_BESIDE = ("pyramid.", "decoder.")


class Fit(NamedTuple):
    """How tensors go into a model.

    Attributes:
        tensors: For tensors of the model, by name and of the same shape.
        gains: For the place of its operators, where the file holds gains only.
        missing, unexpected, resized, reasons: See :class:`LoadReport`.
    """

    tensors: dict[str, Tensor]
    gains: dict[str, Tensor]
    missing: list[str]
    unexpected: list[str]
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    reasons: dict[str, str]


def fit(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    resize: ResizeRule | Literal["own"] | None = "own",
    optional: Sequence[str] = OPTIONAL,
    table: NameTable | None = None,
    leave_out: Sequence[str] = (),
) -> Fit:
    """How a state dict under this project's names goes into a model; changes neither.

    Every tensor of the model must be there with its shape, and no other, except that

    - learned spectral embeddings, positions and biases by relative position are resized,
    - optional parts may be missing, or left over,
    - what belongs to ``stages`` beyond the model's last is left over, and a pyramid or decoder that a HiViT lacks,
    - biases by relative position may be missing: they start at zero, which is none,
    - stems of modalities that the model lacks are left over, and descriptions of modalities may be missing,
    - gains come in the place of all operators and embeddings.

    Args:
        model: Any network.
        state: As :func:`~backbones.weights.conversion.own_names` gives it.
        resize: A rule of :func:`~spectral_ops.resize_embedding`, ``"own"`` for the rule of each embedding of the model,
            or None where other sizes are an error.
        optional: How the names of optional parts begin.
        table: Of the official names that the file bore, if it did.
        leave_out: Patterns of names that neither have to fit nor are loaded.

    Raises:
        ValueError: They do not fit; the message names what does not, and both networks. Or a pattern fits no name.
    """
    gains = {name: t for name, t in state.items() if ".operator.gain_" in name}
    targets = _targets(model, bool(gains))
    if table is not None and (misfit := table.misfit(model, state)):
        raise ValueError(f"{misfit}. {_comparison(model, state)}")
    optional = tuple(optional)
    reasons = _left_out([*targets, *state], leave_out)
    tables = [f"{n}.table" for n, m in model.named_modules() if isinstance(m, RelativeBias)]
    stems = {f"{n}.description": m for n, m in model.named_modules() if isinstance(m, ModalityStem)}
    for name in targets:
        if name not in state and name.startswith(optional):
            reasons.setdefault(name, "not in the file; it keeps its start")
        elif name not in state and name in tables:
            reasons.setdefault(name, "not in the file; it starts at zero, which is no bias")
        elif name not in state and name in stems:
            reasons.setdefault(name, "not in the file, which does not tell its bands, unit and statistics")
    beyond = tuple(f"stages.{i}." for i in range(len(model.stages), 100)) if hasattr(model, "stages") else ()
    beside = tuple(p for p in _BESIDE if isinstance(model, HiViT) and not any(n.startswith(p) for n in targets))
    beside += _other_stems(model, state)
    for name in state:
        if name not in targets and name.startswith((*optional, *beyond, *beside)):
            reasons.setdefault(name, "of a part that the model does not have")
    missing = [n for n in targets if n in reasons]
    unexpected = [n for n in state if n in reasons]
    values = {name: t for name, t in state.items() if name not in gains and name not in unexpected}
    gains = {name: t for name, t in gains.items() if name not in unexpected}
    for name in [n for n in stems if n in values]:
        if reason := stems[name].misfit(values[name]):
            raise ValueError(
                f"{reason}: create the model with the modalities of the file, backbones.remote_sensing.specs_in(...), "
                f"or keep those of the model by leave_out=[{name!r}]"
            )
        values[name] = targets[name]  # but for its place among others, which is the model's own
    places = resizable(model)
    resized = {}
    for name in [n for n in places if n in values and n in targets and resize is not None]:
        if (new := resized_like(values[name], targets[name], places[name], resize)) is not None:
            values[name], resized[name] = new.values, new.sizes
    misfits = _misfits(values, targets, missing) + (gain_misfits(model, gains) if gains else [])
    if misfits:
        names = [misfit.partition(":")[0] for misfit in misfits]
        if all(name in places or name.startswith(optional) for name in names):  # else it is of another network
            _check_classifier(values, targets, optional)
        hint = _hint(names, targets, places, resize)
        raise ValueError(f"the weights do not fit the model: {listed(misfits)}. {_comparison(model, state)}{hint}")
    return Fit(values, gains, missing, unexpected, resized, reasons)


def _other_stems(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """How the names of a file's modalities begin that the model does not have, where it has some of them."""
    stem = getattr(model, "stem", None)
    theirs = {name.split(".")[1] for name in state if name.startswith("stem.") and name.count(".") == 3}
    if not isinstance(stem, ModalityStems) or theirs.isdisjoint(stem):
        return ()
    return tuple(f"stem.{name}." for name in sorted(theirs.difference(stem)))


def _left_out(names: Sequence[str], patterns: Sequence[str]) -> dict[str, str]:
    """The names that patterns fit, and the reason that this is."""
    if isinstance(patterns, str):
        raise ValueError(f"leave_out must be a list of patterns of names, got {patterns!r}")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"leave_out: neither the file nor the model has a tensor that fits {pattern!r}")
    return {n: "left out as asked" for n in names if any(fnmatchcase(n, pattern) for pattern in patterns)}


def _hint(names: Sequence[str], targets: Mapping[str, Tensor], places: Mapping[str, nn.Module], resize: object) -> str:
    """What to do about tensors of these names that do not fit."""
    if resize is None and all(name in places for name in names):
        return f". Embeddings of other sizes are resized with resize= one of {RESIZE_RULES}."
    if any(name.endswith(".bias.table") and name not in targets for name in names):
        return (
            ". The file has biases by relative position: create the model with relative_bias=True, or drop them by "
            "leave_out=['*.bias.table']."
        )
    if any(re.fullmatch(r"stem\.\w+\.norm2\.weight", name) and name in targets for name in names):
        return (
            ". A modality of the model that the file does not have can start anew by leave_out=['stem.NAME.*']; the "
            "stems of official files are called 'optical' and 'sar'."
        )
    if any(name.startswith("pyramid.") for name in names):
        return (
            ". Create the model with the pyramid_dim and pyramid_depth of the file, or leave the pyramid as it starts "
            "by leave_out=['pyramid.*']."
        )
    return ""


def resized_embeddings(
    model: nn.Module, state: Mapping[str, Tensor], rule: ResizeRule | Literal["own"] = "own"
) -> dict[str, Tensor]:
    """Those embeddings, positions and biases of a state dict that have another size in a model, at the model's size.

    Args:
        model: Any, a detector for example.
        state: Under the model's names.
        rule: Of :func:`~spectral_ops.resize_embedding`, or ``"own"`` for that of each embedding of the model.
    """
    places, targets = resizable(model), model.state_dict()
    found = {n: resized_like(state[n], targets[n], place, rule) for n, place in places.items() if n in state}
    return {name: new.values for name, new in found.items() if new is not None}


def _targets(model: nn.Module, for_gains: bool) -> dict[str, Tensor]:
    """The model's tensors that a file must or may fill."""
    stored = [module for module in model.modules() if isinstance(module, Precomputed)]
    if any(operator.source is not None for operator in stored):
        raise ValueError("the model's gains are precomputed from its present weights: call unreparameterize() first")
    if stored and not for_gains:
        raise ValueError("the model holds gains only and the file the physics: create the model anew")
    if not for_gains:
        return model.state_dict()
    replaced = [f"{n}.operator." for n, m in model.named_modules() if isinstance(m, SpectralMixer)]
    replaced += [
        f"{n}."
        for n, m in model.named_modules()
        if isinstance(m, (SpectralEmbedding, BilinearMap)) and n.endswith("embedding")
    ]
    return {n: t for n, t in model.state_dict().items() if not n.startswith(tuple(replaced))}


def _check_classifier(values: Mapping[str, Tensor], targets: Mapping[str, Tensor], optional: tuple[str, ...]) -> None:
    """Of the optional parts, a classifier alone has a matrix: one row for each class."""
    for name, ours in targets.items():
        theirs = values.get(name)
        if theirs is None or theirs.ndim != 2 or ours.ndim != 2 or not name.startswith(optional):
            continue
        if len(theirs) != len(ours):
            raise ValueError(
                f"its classifier has {len(theirs)} classes and the model's {len(ours)}: create the model with "
                f"num_classes={len(theirs)}, or with num_classes=0 and add a classifier by "
                f"model.reset_classifier({len(ours)}) after loading"
            )


def _misfits(values: Mapping[str, Tensor], targets: Mapping[str, Tensor], missing: Sequence[str]) -> list[str]:
    misfits = []
    for name, target in targets.items():
        value = values.get(name)
        if value is None and name not in missing:
            misfits.append(f"{name}: missing in the file, {tuple(target.shape)} in the model")
        elif value is not None and (
            value.shape != target.shape or value.is_floating_point() != target.is_floating_point()
        ):
            kind = "" if value.is_floating_point() else f" of {value.dtype}"
            misfits.append(f"{name}: {tuple(value.shape)}{kind} in the file, {tuple(target.shape)} in the model")
    return misfits + [
        f"{name}: {tuple(value.shape)} in the file, missing in the model"
        for name, value in values.items()
        if name not in targets
    ]


def _comparison(model: nn.Module, state: Mapping[str, Tensor]) -> str:
    theirs, ours = describe(state), describe(model.state_dict())
    return f"The file is {theirs}, the model {ours}" if theirs != ours else f"Both are {ours}"
