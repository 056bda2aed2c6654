"""``pretrained=True``: official and own weights through timm, from a file, a folder or a hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from timm.models import build_model_with_cfg, load_pretrained, resolve_pretrained_cfg
from torch import Tensor, nn

from backbones.deployment import gain_misfits, place_gains
from backbones.network import SpectralNet
from backbones.weights.cards import get_weights
from backbones.weights.loading import describe, listed, own_names, read_weights, unwrap
from backbones.weights.reading import harmless_globals
from spectral_ops import SpectralOperator, resize_embedding

__all__ = ["build", "checkpoint_filter_fn", "load_file"]


def build(name: str, operator: Callable[[int], SpectralOperator], pretrained: bool, **options: Any) -> nn.Module:
    """What a model function of timm does: the network, its weights, and ``features_only``.

    Args:
        name: As registered.
        operator: Of :class:`~backbones.network.SpectralNet`.
        pretrained: Load the weights that the configuration names.
        options: Arguments of timm's ``build_model_with_cfg`` and of the network.

    Raises:
        RuntimeError: There are no weights to load, or they do not fit.
        OSError: They cannot be fetched.
        ValueError: A file cannot be read, or is of another network.
    """
    cfg = resolve_pretrained_cfg(name, options.pop("pretrained_cfg", None), options.pop("pretrained_cfg_overlay", None))
    if pretrained and not (cfg.has_weights or cfg.state_dict):
        raise RuntimeError(get_weights(name))
    if cfg.file and cfg.source != "local-dir":
        cfg = replace(cfg, custom_load=True)  # read by this project, whose errors say more
    if options.get("features_only"):
        options.setdefault("num_classes", 0)
    try:
        with harmless_globals():
            return build_model_with_cfg(
                SpectralNet,
                name,
                pretrained,
                pretrained_cfg=cfg.to_dict(),
                feature_cfg={"out_indices": (0, 1, 2, 3), "feature_cls": "getter", "flatten_sequential": True},
                pretrained_filter_fn=checkpoint_filter_fn,
                operator=operator,
                **options,
            )
    except OSError as error:
        where = cfg.hf_hub_id or cfg.url
        if not where or cfg.file:
            raise
        raise OSError(f"cannot fetch {where}: {error}\n{get_weights(name)}") from error


def load_file(model: SpectralNet, path: str | os.PathLike[str]) -> None:
    """Load an official file or one of this project, read safely, and adapt it to the model as timm does.

    As for every source of timm's, the first convolution is converted to other ``in_chans``, a classifier of other
    ``num_classes`` is left out, and everything else must fit.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or is of another network.
        RuntimeError: Some of its tensors do not fit, or are missing.
    """
    state = read_weights(path)[0]
    cfg = {**model.pretrained_cfg, "state_dict": state, "source": ""}
    if "head.fc.weight" in state:
        cfg["num_classes"] = len(state["head.fc.weight"])
    if "stem.conv1.weight" in state:
        cfg["input_size"] = (state["stem.conv1.weight"].shape[1], *cfg["input_size"][1:])
    try:
        load_pretrained(model, cfg, model.num_classes, model.in_chans, checkpoint_filter_fn)
    except ValueError as error:
        raise ValueError(f"cannot load {path}: {error}") from error


def checkpoint_filter_fn(checkpoint: Mapping[str, Any], model: SpectralNet) -> dict[str, Tensor]:
    """timm's hook between reading and loading: names of this project, and embeddings at the model's sizes.

    Gains of a precomputed file take the place of the model's operators, so that they can be loaded.

    Raises:
        ValueError: These are not the weights of a network like ``model``.
    """
    state, _, _ = own_names(unwrap(checkpoint, "raw"))
    theirs, ours = describe(state), describe(model.state_dict())
    if theirs != ours:
        raise ValueError(f"the weights are {theirs}, the model is {ours}")
    gains = {name: t for name, t in state.items() if ".operator.gain_" in name}
    if gains:
        if misfits := gain_misfits(model, gains):
            raise ValueError(f"the gains do not fit the model: {listed(misfits)}")
        place_gains(model, gains)
    for i, stage in enumerate(model.stages):
        name = f"stages.{i}.embedding.weight"
        if stage.embedding is not None and name in state:
            state[name] = resize_embedding(state[name], stage.embedding.weight.shape[:2], stage.embedding.rule)
    # timm passes over what is missing where it adapts the classifier; nothing else may be.
    optional, wanted = ("norm.", "head.", "out_norms."), model.state_dict()
    misfits = [f"{n}: missing in the file" for n in wanted if n not in state and not n.startswith(optional)]
    misfits += [f"{n}: missing in the model" for n in state if n not in wanted and not n.startswith(optional)]
    if misfits:
        raise ValueError(f"the weights do not fit the model: {listed(misfits)}")
    return {name: t for name, t in state.items() if not name.startswith("out_norms.")}
