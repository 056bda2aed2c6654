"""Putting tensors into a network: everything is checked before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from backbones.deployment import gain_misfits, place_gains
from backbones.network import SpectralNet
from backbones.weights.containers import Weights, check_weights
from backbones.weights.conversion import Named, own_names
from backbones.weights.identification import describe
from backbones.weights.messages import listed
from backbones.weights.names import NameTable
from backbones.weights.reading import read_checkpoint
from spectral_ops import Precomputed, SpectralEmbedding, SpectralMixer, resize_embedding
from spectral_ops.embedding import RESIZE_RULES, ResizeRule

__all__ = ["Fit", "LoadReport", "fit", "load_checkpoint", "read_named", "read_weights", "resized_embeddings"]


class LoadReport(NamedTuple):
    """What :func:`load_checkpoint` did.

    Attributes:
        missing: Tensors of the model that the file does not hold and that keep their values (a classifier or the
            norms of dense outputs).
        unexpected: Tensors of the file that the model has no place for.
        resized: Embeddings that were resized, with their sizes in the file and in the model.
    """

    missing: list[str]
    unexpected: list[str]
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]


def load_checkpoint(
    model: SpectralNet,
    path: str | os.PathLike[str],
    resize: ResizeRule | None = "bicubic",
    weights: Weights = "raw",
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
            :func:`~spectral_ops.resize_embedding`), or None where other sizes are an error.
        weights: ``"raw"``, or ``"ema"`` for the moving average where the file holds one.
        prefix: What must stand before the network's names in the file, ``"backbone."`` for example; by default they are
            found behind any.

    Returns:
        ``(missing, unexpected, resized)``, see :class:`LoadReport`. Only a classifier, the norms of dense outputs and
        stages beyond the model's last can be missing or unexpected; stem and stages must fit exactly.

    Raises:
        TypeError: ``model`` is not a :class:`~backbones.network.SpectralNet`.
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
    if not isinstance(model, SpectralNet):
        raise TypeError(f"model must be a backbones.SpectralNet, got {type(model).__name__}")
    if resize is not None and resize not in RESIZE_RULES:
        raise ValueError(f"resize must be one of {RESIZE_RULES} or None, got {resize!r}")
    named = read_named(path, weights, prefix)
    try:
        found = fit(model, named.tensors, resize=resize, table=named.table)
    except ValueError as error:
        raise ValueError(f"cannot load {path}: {error}") from error
    targets = model.state_dict()
    if found.gains:
        place_gains(model, found.gains)
    with torch.no_grad():
        for name, value in found.tensors.items():
            targets[name].copy_(value)
    return LoadReport(found.missing, named.unexpected + found.unexpected, found.resized)


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
_OPTIONAL = ("norm.", "head.", "out_norms.")


class Fit(NamedTuple):
    """How tensors go into a model.

    Attributes:
        tensors: For tensors of the model, by name and of the same shape.
        gains: For the place of its operators, where the file holds gains only.
        missing, unexpected, resized: See :class:`LoadReport`.
    """

    tensors: dict[str, Tensor]
    gains: dict[str, Tensor]
    missing: list[str]
    unexpected: list[str]
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]


def fit(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    resize: ResizeRule | Literal["own"] | None = "own",
    optional: Sequence[str] = _OPTIONAL,
    table: NameTable | None = None,
) -> Fit:
    """How a state dict under this project's names goes into a model; changes neither.

    Every tensor of the model must be there with its shape, and no other, except that

    - learned spectral embeddings are resized,
    - optional parts may be missing, or left over,
    - what belongs to ``stages`` beyond the model's last is left over,
    - gains come in the place of all operators and embeddings.

    Args:
        model: Any network.
        state: As :func:`~backbones.weights.conversion.own_names` gives it.
        resize: A rule of :func:`~spectral_ops.resize_embedding`, ``"own"`` for the rule of each embedding of the model,
            or None where other sizes are an error.
        optional: How the names of optional parts begin.
        table: Of the official names that the file bore, if it did.

    Raises:
        ValueError: They do not fit; the message names what does not, and both networks.
    """
    gains = {name: t for name, t in state.items() if ".operator.gain_" in name}
    targets = _targets(model, bool(gains))
    if table is not None and (misfit := table.misfit(model, state)):
        raise ValueError(f"{misfit}. {_comparison(model, state)}")
    optional = tuple(optional)
    missing = [n for n in targets if n not in state and n.startswith(optional)]
    beyond = tuple(f"stages.{i}." for i in range(len(model.stages), 100)) if hasattr(model, "stages") else ()
    unexpected = [n for n in state if n not in targets and n.startswith((*optional, *beyond))]
    values = {name: t for name, t in state.items() if name not in gains and name not in unexpected}
    gains = {name: t for name, t in gains.items() if name not in unexpected}
    _check_classifier(values, targets, optional)
    embeddings = _embeddings(model)
    changed = {} if resize is None else resized_embeddings(model, values, resize)
    resized = {name: (tuple(values[name].shape[:2]), tuple(new.shape[:2])) for name, new in changed.items()}
    values |= changed
    misfits = _misfits(values, targets, missing) + (gain_misfits(model, gains) if gains else [])
    if misfits:
        hint = ""
        if resize is None and all(misfit.partition(":")[0] in embeddings for misfit in misfits):
            hint = f" Embeddings of other sizes are resized with resize= one of {RESIZE_RULES}."
        raise ValueError(f"the weights do not fit the model: {listed(misfits)}. {_comparison(model, state)}{hint}")
    return Fit(values, gains, missing, unexpected, resized)


def _embeddings(model: nn.Module) -> dict[str, SpectralEmbedding]:
    """A model's learned spectral embeddings by the names of their tensors."""
    return {f"{n}.weight": m for n, m in model.named_modules() if isinstance(m, SpectralEmbedding)}


def resized_embeddings(
    model: nn.Module, state: Mapping[str, Tensor], rule: ResizeRule | Literal["own"] = "own"
) -> dict[str, Tensor]:
    """Those spectral embeddings of a state dict that have another size in a model, at the model's size.

    Args:
        model: Any, a detector for example.
        state: Under the model's names.
        rule: Of :func:`~spectral_ops.resize_embedding`, or ``"own"`` for that of each embedding of the model.
    """
    found = {}
    for name, module in _embeddings(model).items():
        old, new = state.get(name), module.weight.shape
        if old is None or old.ndim != 3 or not old.is_floating_point() or old.shape[2] != new[2] or old.shape == new:
            continue
        single = old.to(torch.promote_types(old.dtype, torch.float32))
        found[name] = resize_embedding(single, new[:2], module.rule if rule == "own" else rule)
    return found


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
        f"{n}." for n, m in model.named_modules() if isinstance(m, SpectralEmbedding) and n.endswith("embedding")
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
        elif value is not None and (value.shape != target.shape or not value.is_floating_point()):
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
