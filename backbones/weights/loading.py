"""Loading official and own checkpoints into a network: everything is checked before anything is changed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from backbones.archs import ARCHS
from backbones.deployment import gain_misfits, place_gains
from backbones.network import SpectralNet
from backbones.weights.conversion import convert_checkpoint, strip_prefixes
from backbones.weights.reading import read_checkpoint
from spectral_ops import Precomputed, resize_embedding
from spectral_ops.embedding import RESIZE_RULES, ResizeRule

__all__ = ["LoadReport", "describe", "listed", "load_checkpoint", "own_names", "read_weights", "unwrap"]

Weights = Literal["raw", "ema"]
#: Where a training script keeps its tensors, the first that is there.
_CONTAINERS: dict[str, tuple[str, ...]] = {
    "raw": ("model", "state_dict", "module"),
    "ema": ("model_ema", "state_dict_ema"),
}
_SHOWN = 3


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
) -> LoadReport:
    """Load an official vHeat file, or one of this project, into a network.

    Reads classification and dense files, in train and in precomputed form, of official and of own names, also as the
    backbone of a whole detector or segmentor. The file is read safely (:func:`~backbones.read_checkpoint`).
    A file in precomputed form puts its gains in the place of the physics: the network then runs at its grid only.

    Args:
        model: A network of this project, for classification or dense outputs.
        path: The file.
        resize: How spectral embeddings are carried over to the sizes of the model: ``"bicubic"``, ``"pad"`` (see
            :func:`~spectral_ops.resize_embedding`), or None where other sizes are an error.
        weights: ``"raw"``, or ``"ema"`` for the moving average where the file holds one.

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
    state, unexpected, official = _read(path, weights)
    try:
        plan = _Plan(model, state, resize, official)
    except ValueError as error:
        raise ValueError(f"cannot load {path}: {error}") from error
    plan.apply()
    return LoadReport(plan.missing, unexpected + plan.unexpected, plan.resized)


def read_weights(path: str | os.PathLike[str], weights: Weights = "raw") -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a vHeat file under this project's names, and the names in it that are nobody's.

    Args:
        path, weights: See :func:`load_checkpoint`.

    Raises:
        FileNotFoundError, ValueError: As :func:`load_checkpoint`.
    """
    return _read(path, weights)[:2]


def _read(path: str | os.PathLike[str], weights: Weights) -> tuple[dict[str, Tensor], list[str], bool]:
    if weights not in _CONTAINERS:
        raise ValueError(f"weights must be one of {tuple(_CONTAINERS)}, got {weights!r}")
    checkpoint = read_checkpoint(path)
    try:
        return own_names(unwrap(checkpoint, weights))
    except ValueError as error:
        raise ValueError(f"cannot load {path}: {error}") from error


def unwrap(checkpoint: Mapping[str, Any], weights: Weights) -> Mapping[str, Tensor]:
    """The state dict inside a checkpoint.

    Raises:
        ValueError: It holds none of that kind.
    """
    names = _CONTAINERS[weights]
    if "ema_state_dict" in checkpoint:  # mmengine's EMA hook stores the average as the model and the model beside it
        names = {"raw": ("ema_state_dict",), "ema": ("state_dict",)}[weights]
    elif weights == "raw" and any(isinstance(value, Tensor) for value in checkpoint.values()):
        return checkpoint
    for name in names:
        if isinstance(checkpoint.get(name), dict):
            return checkpoint[name]
    raise ValueError(
        f"weights={weights!r} are kept under one of {names}, the file holds {', '.join(map(str, list(checkpoint)[:6]))}"
    )


def own_names(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str], bool]:
    """A file's tensors under this project's names, the names that are nobody's, and whether the file is official.

    Raises:
        ValueError: It holds no tensor of a vHeat.
    """
    stripped = strip_prefixes(
        {name: t for name, t in tensors.items() if isinstance(name, str) and isinstance(t, Tensor)}
    )
    if any(name.startswith(("stem.", "stages.")) for name in stripped):
        # A network reparameterised with its source holds both; the gains follow from the rest.
        sources = {name for name in stripped if ".operator.source." in name}
        kept = {n: t for n, t in stripped.items() if not (sources and ".operator.gain_" in n)}
        return {n.replace(".operator.source.", ".operator."): t for n, t in kept.items()}, [], False
    converted = convert_checkpoint(stripped)
    if not converted.state_dict:
        raise ValueError(f"it holds no tensor of a vHeat, but {', '.join(list(tensors)[:_SHOWN]) or 'none at all'}")
    return converted.state_dict, converted.unexpected, True


# -- checking a file against a model --------------------------------------------------------------------------------


class _Plan:
    """What loading ``state`` into ``model`` amounts to; raises ``ValueError`` where it does not fit."""

    def __init__(self, model: SpectralNet, state: dict[str, Tensor], resize: ResizeRule | None, official: bool) -> None:
        self.model = model
        self.gains = {name: t for name, t in state.items() if ".operator.gain_" in name}
        self.values = {name: t for name, t in state.items() if name not in self.gains}
        self.resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self.targets = self._targets()
        self._check_norm_placement(official)
        later = tuple(f"stages.{i}." for i in range(len(model.stages), _stage_count(state)))
        optional = ("norm.", "head.", "out_norms.")
        self.missing = [n for n in self.targets if n not in self.values and n.startswith(optional)]
        self.unexpected = [n for n in state if n not in self.targets and n.startswith((*optional, *later))]
        self.values = {name: t for name, t in self.values.items() if name not in self.unexpected}
        self.gains = {name: t for name, t in self.gains.items() if name not in self.unexpected}
        self._check_classifier()
        if resize is not None:
            self._resize(resize)
        self._check_fit(state, resize)

    def _targets(self) -> dict[str, Tensor]:
        """The model's tensors that the file must or may fill."""
        operators = [block.mixer.operator for stage in self.model.stages for block in stage.blocks]
        precomputed = [op for op in operators if isinstance(op, Precomputed)]
        if any(op.source is not None for op in precomputed):
            raise ValueError(
                "the model's gains are precomputed from its present weights: call unreparameterize() first"
            )
        if precomputed and not self.gains:
            raise ValueError("the model holds gains only and the file the physics: create the model anew")
        targets = self.model.state_dict()
        if not self.gains:
            return targets
        return {n: t for n, t in targets.items() if not re.search(r"\.mixer\.operator\.|\.embedding\.weight$", n)}

    def _check_norm_placement(self, official: bool) -> None:
        scaled = any(name.endswith(".scale1.gamma") for name in self.values)
        if official and scaled and self.model.stages[0].blocks[0].pre_norm:
            raise ValueError(f"an official file with gamma1 is post-norm, the model is pre-norm. {self._comparison()}")

    def _check_classifier(self) -> None:
        theirs, ours = self.values.get("head.fc.weight"), self.targets.get("head.fc.weight")
        if theirs is not None and ours is not None and theirs.ndim == 2 and len(theirs) != len(ours):
            raise ValueError(
                f"its classifier has {len(theirs)} classes and the model's {len(ours)}: create the model with "
                f"num_classes={len(theirs)}, or with num_classes=0 and add a classifier by "
                f"model.reset_classifier({len(ours)}) after loading"
            )

    def _resize(self, rule: ResizeRule) -> None:
        for name in [n for n in self.values if n.endswith(".embedding.weight")]:
            value, target = self.values[name], self.targets.get(name)
            if target is None or value.ndim != 3 or not value.is_floating_point() or value.shape[2] != target.shape[2]:
                continue  # reported as a misfit
            old, new = tuple(value.shape[:2]), tuple(target.shape[:2])
            if old != new:
                value = value.to(torch.promote_types(value.dtype, torch.float32))
                self.values[name] = resize_embedding(value, new, rule)
                self.resized[name] = (old, new)

    def _check_fit(self, state: dict[str, Tensor], resize: ResizeRule | None) -> None:
        misfits = []
        for name, target in self.targets.items():
            value = self.values.get(name)
            if value is None and name not in self.missing:
                misfits.append(f"{name}: missing in the file, {tuple(target.shape)} in the model")
            elif value is not None and (value.shape != target.shape or not value.is_floating_point()):
                kind = "" if value.is_floating_point() else f" of {value.dtype}"
                misfits.append(f"{name}: {tuple(value.shape)}{kind} in the file, {tuple(target.shape)} in the model")
        misfits += [
            f"{name}: {tuple(value.shape)} in the file, missing in the model"
            for name, value in self.values.items()
            if name not in self.targets
        ]
        misfits += gain_misfits(self.model, self.gains) if self.gains else []
        if not misfits:
            return
        hint = ""
        if resize is None and all(".embedding.weight" in misfit for misfit in misfits):
            hint = f" Embeddings of other sizes are resized with resize= one of {RESIZE_RULES}."
        raise ValueError(f"it does not fit the model: {listed(misfits)}. {self._comparison(state)}{hint}")

    def _comparison(self, state: Mapping[str, Tensor] | None = None) -> str:
        theirs, ours = describe(state if state is not None else self.values), describe(self.model.state_dict())
        return f"The file is {theirs}, the model is {ours}" if theirs != ours else f"Both are {ours}"

    @torch.no_grad()
    def apply(self) -> None:
        """Change the model."""
        if self.gains:
            place_gains(self.model, self.gains)
        for name, value in self.values.items():
            self.targets[name].copy_(value)


def listed(misfits: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = f"; and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
    return "; ".join(misfits[:_SHOWN]) + more


def _stage_count(names: Mapping[str, Tensor]) -> int:
    return 1 + max((int(m.group(1)) for n in names if (m := re.match(r"stages\.(\d{1,2})\.", n))), default=-1)


def describe(state: Mapping[str, Tensor]) -> str:
    """Which size a state dict is of, as far as it can be told."""
    depths: dict[int, int] = {}
    dims: dict[int, int] = {}
    for name, tensor in state.items():
        if match := re.fullmatch(r"stages\.(\d{1,2})\.blocks\.(\d{1,3})\.norm1\.weight", name):
            stage, block = int(match.group(1)), int(match.group(2))
            depths[stage], dims[stage] = max(depths.get(stage, 0), block + 1), tensor.numel()
    found = tuple(dims[i] for i in sorted(dims)), tuple(depths[i] for i in sorted(depths))
    for name, arch in ARCHS.items():
        if found == (arch["dims"], arch["depths"]):
            return f"of size {name}"
    return f"a network of widths {found[0]} and depths {found[1]}"
