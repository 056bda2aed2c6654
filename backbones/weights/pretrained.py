"""``pretrained=True``: official and own weights through timm, from a file, a folder or a hub."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from timm.models import build_model_with_cfg, load_pretrained, resolve_pretrained_cfg
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from backbones.deployment import place_gains
from backbones.weights.cards import where_weights_are
from backbones.weights.conversion import Named, own_names
from backbones.weights.loading import OPTIONAL, fit, read_named
from backbones.weights.reading import harmless_globals

__all__ = ["build", "checkpoint_filter_fn", "load_file"]

_LOGGER = logging.getLogger(__name__)


def build(
    name: str,
    network: Callable[..., nn.Module],
    pretrained: bool,
    *,
    levels: int = 4,
    stages_give: str = "",
    **options: Any,
) -> nn.Module:
    """What a model function of timm does: the network, its weights, and ``features_only``.

    Args:
        name: As registered.
        network: What makes the network of its arguments: a class with timm's contract whose weights have a
            :class:`~backbones.weights.names.NameTable`.
        pretrained: Load the weights that the configuration names.
        levels: Of features that the network has.
        stages_give: What the modules of the stages return, where that is no map of an image: features are then to be
            had from ``forward_intermediates`` alone, timm's ``feature_cls="getter"``.
        options: Arguments of timm's ``build_model_with_cfg`` and of the network.

    Raises:
        RuntimeError: There are no weights to load, or they do not fit.
        OSError: They cannot be fetched.
        ValueError: A file cannot be read, or is of another network; or features are asked for in a way that gives none.

    Warns:
        UserWarning: A file has another number of classes than the model, or no classifier, and the model was not told
            how many.
    """
    cfg = resolve_pretrained_cfg(name, options.pop("pretrained_cfg", None), options.pop("pretrained_cfg_overlay", None))
    if pretrained and not (cfg.has_weights or cfg.state_dict):
        raise RuntimeError(where_weights_are(name))
    asked = options.get("num_classes") is not None
    if options.get("features_only"):
        options.setdefault("num_classes", 0)
        by = options.get("feature_cls", "getter")
        if stages_give and not (str(by).lower() == "getter" or by is FeatureGetterNet):
            raise ValueError(f"feature_cls must be 'getter' for {name}, whose stages give {stages_give}, got {by!r}")
    # A file is read by this project, whose errors say more, before timm wraps the network for features.
    from_file = pretrained and cfg.file and not cfg.state_dict and cfg.source not in ("hf-hub", "local-dir")

    def create(**arguments: Any) -> nn.Module:
        net = network(**arguments)
        if from_file:
            net.pretrained_cfg = cfg.to_dict()
            theirs = load_file(net, cfg.file, new_classifier=asked)
            if theirs not in (None, net.num_classes) and net.num_classes and not asked:
                warnings.warn(
                    f"{cfg.file} has a classifier of {theirs} classes and {name} has {net.num_classes} unless told: "
                    f"the model's classifier is random. num_classes={theirs} keeps that of the file, num_classes=0 "
                    f"takes none, num_classes={net.num_classes} says that a new one is meant",
                    stacklevel=2,
                )
            if theirs is None and net.num_classes and not asked:
                warnings.warn(
                    f"{cfg.file} has no classifier: the model's {net.num_classes} classes are random, and so is what "
                    f"else the file lacks. num_classes=0 takes none, num_classes={net.num_classes} says that a new one "
                    f"is meant",
                    stacklevel=2,
                )
        return net

    try:
        with harmless_globals():
            return build_model_with_cfg(
                create,
                name,
                pretrained and not from_file,
                pretrained_cfg=cfg.to_dict(),
                feature_cfg={"out_indices": tuple(range(levels)), "feature_cls": "getter", "flatten_sequential": True},
                pretrained_filter_fn=checkpoint_filter_fn,
                **options,
            )
    except OSError as error:
        where = cfg.hf_hub_id or cfg.url
        if not where or cfg.file:
            raise
        raise OSError(f"cannot fetch {where}: {error}\n{where_weights_are(name)}") from error


def load_file(model: nn.Module, path: str | os.PathLike[str], *, new_classifier: bool = False) -> int | None:
    """Load an official file or one of this project, read safely, and adapt it to the model as timm does.

    As for every source of timm's, the first convolution is converted to other ``in_chans``, a classifier of other
    ``num_classes`` is left out, and everything else must fit. In a file without classifier and final norm, one of
    pre-training for example, these are the model's own, and what belongs to a neck is left out.

    Args:
        model: With the ``pretrained_cfg`` that timm gives its models.
        path: The file.
        new_classifier: The model's own classifier serves where the file has none; else that is an error.

    Returns:
        The number of classes of the file, None where it has no classifier.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or is of another network.
        RuntimeError: Some of its tensors do not fit, or are missing.
    """
    named = read_named(path)
    state = named.tensors
    cfg = {**model.pretrained_cfg, "state_dict": state, "source": ""}
    classifier, stem = (state.get(f"{cfg[part]}.weight") for part in ("classifier", "first_conv"))
    classes = None if classifier is None else len(classifier)
    if classes is not None:
        cfg["num_classes"] = classes
    elif new_classifier and model.num_classes:
        cfg["num_classes"] = 0  # another number than the model's: timm leaves the model's classifier as it is
    if stem is not None:
        cfg["input_size"] = (stem.shape[1], *cfg["input_size"][1:])
    try:
        load_pretrained(model, cfg, model.num_classes, model.in_chans, lambda _, model: _fitted(model, named))
    except ValueError as error:
        raise ValueError(f"cannot load {path}: {error}") from error
    return classes


def checkpoint_filter_fn(checkpoint: Mapping[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """timm's hook between reading and loading: names of this project, and embeddings at the model's sizes.

    Gains of a precomputed file take the place of the model's operators, so that they can be loaded.

    Raises:
        ValueError: These are not the weights of a network like ``model``.
    """
    return _fitted(model, own_names(checkpoint))


def _fitted(model: nn.Module, named: Named) -> dict[str, Tensor]:
    # What timm adapts itself, after this: the model's own stand in for it here.
    ours, cfg = model.state_dict(), model.pretrained_cfg
    adapted = f"{cfg['first_conv']}.weight", f"{cfg['classifier']}."
    theirs = {name: t for name, t in named.tensors.items() if name in ours and name.startswith(adapted)}
    found = fit(model, {**named.tensors, **{name: ours[name] for name in theirs}}, table=named.table)
    if found.gains:
        place_gains(model, found.gains)
    # timm has no report, so whole parts that are passed over are told here; a classifier it speaks of itself.
    for name in [*named.unexpected, *found.unexpected]:
        if not name.startswith(OPTIONAL):
            _LOGGER.warning("not loaded: %s, %s", name, {**named.reasons, **found.reasons}[name])
    # timm asks for every tensor: those that may be missing beside norm and classifier keep the model's values. Files
    # of dense networks, and of pre-training, have neither of the two: both start anew.
    trunk_only = not any(name.startswith(("norm.", "head.")) for name in named.tensors)
    kept = {n: ours[n] for n in found.missing if trunk_only or not n.startswith(OPTIONAL)}
    return {**kept, **found.tensors, **found.gains, **theirs}
