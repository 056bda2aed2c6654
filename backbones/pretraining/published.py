"""What a pre-training is for: one file with the weights of backbone and neck."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from backbones.network import SpectralNet
from backbones.pretraining.model import MaskedPretraining
from backbones.training.files import write_checkpoint
from backbones.weights.identification import describe, families_of, outline
from spectral_ops import __version__

__all__ = ["publish", "published_tensors"]

#: What a network for classification has behind its stages; in pre-training it takes no part.
_UNTRAINED = ("norm.", "head.")


def published_tensors(model: MaskedPretraining) -> dict[str, Tensor]:
    """The tensors of a published file: ``backbone.*`` and ``neck.*``, as a detector or segmentor calls them.

    The norms of the levels are those of the backbone's dense outputs, ``backbone.out_norms.*``. Head, tokens and
    teacher stay behind, and so do a final norm and a classifier of the backbone, which were not trained.
    """
    state = model.backbone.state_dict()
    if isinstance(model.backbone, SpectralNet):
        state = {name: tensor for name, tensor in state.items() if not name.startswith(_UNTRAINED)}
    norms = model.head.norms.state_dict()
    tensors = {f"backbone.{name}": tensor for name, tensor in state.items()}
    tensors |= {f"backbone.out_norms.{name}": tensor for name, tensor in norms.items()}
    if model.neck is not None:
        tensors |= {f"neck.{name}": tensor for name, tensor in model.neck.state_dict().items()}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def publish(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    source: str = "",
    neck_config: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Write the weights of backbone and neck into one safetensors file, with its SHA-256 beside it.

    It loads by mmengine's ``load_from``, by ``init_cfg=dict(type="Pretrained", checkpoint=PATH, prefix="backbone.")``
    of the backbone and the same with ``prefix="neck."`` of the neck, and as
    ``timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=dict(file=PATH))``. mmdet's and mmseg's FPN have
    the same names. mmengine reads safetensors files once :func:`backbones.openmmlab.read_safely` was called, as the
    commands of this project do.

    Args:
        model: A :class:`MaskedPretraining`, also one inside a data-parallel wrapper.
        path: The file, ``*.safetensors``; it is there whole or not at all.
        source: What it was trained on, and how, in a few words.
        neck_config: Of the neck, as in a config; by default what the model was built with, if that is known.

    Returns:
        The metadata of the file, all strings; numbers and lists are JSON.

    Raises:
        TypeError: ``model`` is another one.
        ValueError: ``path`` has another extension.
        OSError: It cannot be written.
    """
    model = getattr(model, "module", model)
    if not isinstance(model, MaskedPretraining):
        raise TypeError(f"model must be a MaskedPretraining, got {type(model).__name__}")
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {path}")
    tensors = published_tensors(model)
    metadata = _metadata(model, source, neck_config)
    write_checkpoint(path, lambda part: save_file(tensors, part, metadata=metadata))
    return metadata


def _metadata(model: MaskedPretraining, source: str, neck_config: Mapping[str, Any] | None) -> dict[str, str]:
    backbone, neck = model.backbone, model.neck
    state = backbone.state_dict()
    found = outline(state)
    config = neck_config or getattr(model, "neck_config", None)
    facts: dict[str, Any] = {
        "format": "pt",
        "holds": "backbone and neck of a masked pre-training"
        if neck is not None
        else "backbone of a masked pre-training",
        "network": describe(state) if found else type(backbone).__name__,
        "neck": type(neck).__name__ if neck is not None else None,
        "neck_config": config,
        "unit": model.mask.unit,
        "ratio": model.mask.ratio,
        "fill": model.fill,
        "targets": model.target_generator.weights,
        "steps": int(model.steps),
        "source": source or None,
        "version": __version__,
    }
    if found is not None:
        facts["family"] = " or ".join(families_of(state)) or None
        facts |= {"dims": found.dims, "depths": found.depths, "arch": found.size, "img_size": backbone.img_size}
    return {n: v if isinstance(v, str) else json.dumps(v, default=str) for n, v in facts.items() if v is not None}
