"""Checkpoints of entries: into the config of a backbone, and whether they fit."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from backbones.openmmlab import TimmBackbone, read_safely
from backbones.openmmlab.dense import Dense
from backbones.openmmlab.safe_reading import NUMPY
from backbones.weights.reading import read_checkpoint

#: Backbones around another one.
_WRAPPERS = ("AdaptedBackbone", "Siamese")


def without_checkpoint(backbone: dict[str, Any]) -> dict[str, Any]:
    """A backbone's config that starts from random weights."""
    found = copy.deepcopy(backbone)
    inner = _inner(found)
    inner.pop("init_cfg", None)
    if isinstance(inner.get("pretrained"), str):  # as mmdet and mmseg said it before init_cfg
        del inner["pretrained"]
    if inner["type"] == "TimmBackbone":
        options = inner.get("options") or {}
        inner["options"] = {n: v for n, v in options.items() if n not in ("pretrained", "pretrained_cfg_overlay")}
    return found


def starts_trained(backbone: dict[str, Any]) -> bool:
    """Whether a backbone's config names weights itself."""
    inner = _inner(backbone)
    inits = inner.get("init_cfg")
    files = any(map(_names_a_file, inits if isinstance(inits, (list, tuple)) else [inits]))
    return bool(files or inner.get("pretrained") or (inner.get("options") or {}).get("pretrained"))


def _inner(backbone: dict[str, Any]) -> dict[str, Any]:
    return backbone["backbone"] if backbone["type"] in _WRAPPERS else backbone


def without_files(model: dict[str, Any]) -> dict[str, Any]:
    """A model's config whose neck and heads, and itself as a whole, start from no file's weights; its backbone stays.

    mmengine loads a whole model's file last, over all that its parts have loaded.
    """
    others = {name: part for name, part in model.items() if name not in ("backbone", "pretrained")}  # mmseg's, of that
    return {"backbone": model["backbone"], **_without_files(others)}


def _without_files(part: Any) -> Any:
    if isinstance(part, (list, tuple)):
        kept = [_without_files(inner) for inner in part if not _names_a_file(inner)]
        return type(part)(kept)
    if not isinstance(part, dict):
        return part
    return {name: _without_files(inner) for name, inner in part.items() if not _names_a_file(inner)}


def _names_a_file(init: Any) -> bool:
    return isinstance(init, dict) and init.get("type") == "Pretrained"


def with_checkpoint(backbone: dict[str, Any], path: Path) -> dict[str, Any]:
    """A backbone's config that starts from the weights of a file."""
    found = without_checkpoint(backbone)
    inner = _inner(found)
    if inner["type"] == "TimmBackbone" and not _of_a_model(path):
        inner["options"] |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}
    else:
        inner["init_cfg"] = {"type": "Pretrained", "checkpoint": str(path)}
        registered = MODELS.get(inner["type"])
        if not (isinstance(registered, type) and issubclass(registered, (Dense, TimmBackbone))) and _of_a_model(path):
            inner["init_cfg"]["prefix"] = "backbone."
    return found


def with_neck(neck: Any, path: Path) -> dict[str, Any]:
    """A neck's config that starts from the weights of a file that has one.

    Raises:
        ValueError: There is no neck, there are several, or the file's does not fit it.
    """
    if not isinstance(neck, dict):
        raise ValueError(f"loads: the model must have one neck, got {'none' if neck is None else f'{len(neck)}'}")
    found = {
        **copy.deepcopy(dict(neck)),
        "init_cfg": {"type": "Pretrained", "checkpoint": str(path), "prefix": "neck."},
    }
    built = MODELS.build({**found, "init_cfg": None})
    expected = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    saved = {n.removeprefix("neck."): tuple(t.shape) for n, t in tensors(path).items() if n.startswith("neck.")}
    if not saved:
        raise ValueError(f"loads: checkpoint {path} has no neck")
    if saved != expected:
        name = next(n for n in (*expected, *saved) if saved.get(n) != expected.get(n))
        raise ValueError(
            f"loads: the neck of checkpoint {path} does not fit: {name} is {saved.get(name, 'missing')} there and "
            f"{expected.get(name, 'missing')} here"
        )
    return found


def load_backbone(backbone: dict[str, Any], path: Path, scope: str) -> nn.Module:
    """Build a backbone with the weights of a file.

    Raises:
        ValueError: The file does not fit; mmengine alone would leave out in silence what does not.
    """
    read_safely()
    init_default_scope(scope)
    try:
        config = with_checkpoint(backbone, path)
        net = _built(config, seed=0)
    except Exception as error:  # whatever its author raises
        raise ValueError(f"checkpoint {path} does not fit: {' '.join(str(error).split())[:400]}") from error
    if isinstance(net, Dense) or isinstance(getattr(net, "backbone", None), Dense):
        return net
    if isinstance(net, TimmBackbone):  # timm leaves out what does not fit, where it returns maps
        others = dict(_built(config, seed=1).named_parameters())
        if drawn := [name for name, p in net.named_parameters() if not torch.equal(p, others[name])]:
            raise ValueError(f"checkpoint {path} does not fit: it lacks {len(drawn)} parameters, such as {drawn[0]}")
        return net
    prefix = (config.get("init_cfg") or {}).get("prefix", "")
    saved = {n.removeprefix(prefix): t for n, t in tensors(path).items() if n.startswith(prefix)}
    expected = {name: tuple(p.shape) for name, p in net.named_parameters()}
    lacking = [n for n, shape in expected.items() if n not in saved or tuple(saved[n].shape) != shape]
    if lacking and config["type"] != "AdaptedBackbone":
        raise ValueError(
            f"checkpoint {path} does not fit: it lacks {len(lacking)} of {len(expected)} parameters of this backbone, "
            f"or has them in another shape, such as {lacking[0]}"
        )
    return net


def _built(config: dict[str, Any], seed: int) -> nn.Module:
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        net = MODELS.build(config)
        if hasattr(net, "init_weights"):
            net.init_weights()
    return net


def check_whole(path: Path, config: Config, classes: Sequence[str]) -> None:
    """Whether a file is a checkpoint of a config's whole model, with these classes.

    Raises:
        ValueError: It is not.
    """
    content = read_checkpoint(path, allow=NUMPY)
    meta = (content.get("meta") or {}).get("dataset_meta") or {} if isinstance(content, dict) else {}
    theirs = meta.get("classes") or meta.get("CLASSES")
    if theirs is not None and tuple(theirs) != tuple(classes):
        pairs = [(a, b) for a, b in zip(theirs, classes, strict=False) if a != b]
        first = f", the first that differs is {pairs[0][0]!r} and not {pairs[0][1]!r}" if pairs else ""
        raise ValueError(f"checkpoint {path} has {len(theirs)} classes, the data have {len(classes)}{first}")
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    saved, expected = tensors(path), {n: tuple(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    lacking = [n for n, shape in expected.items() if n not in saved or tuple(saved[n].shape) != shape]
    if lacking:
        raise ValueError(
            f"checkpoint {path} is not of this config: it lacks {len(lacking)} of {len(expected)} parameters, or has "
            f"them in another shape, such as {lacking[0]}"
        )


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """What a file holds, by the names it gives.

    Raises:
        ValueError: It cannot be read safely, or holds no weights.
    """
    content = read_checkpoint(path, allow=NUMPY)
    state = content.get("state_dict", content.get("model", content)) if isinstance(content, dict) else {}
    found = {n: t for n, t in state.items() if isinstance(t, torch.Tensor)}
    if not found:
        raise ValueError(f"{path} holds no weights")
    return found


def _of_a_model(path: Path) -> bool:
    """Whether a file is of a whole detector or segmentor."""
    return any(name.startswith("backbone.") for name in tensors(path))
