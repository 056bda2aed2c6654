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
from backbones.pretraining.frequency import FrequencyPretraining
from backbones.pretraining.itpn import MaskedITPN
from backbones.pretraining.model import MaskedPretraining
from backbones.training.files import write_checkpoint
from backbones.weights.identification import describe, families_of, outline
from spectral_ops import __version__

__all__ = ["publish", "published_tensors"]

#: What a network for classification has behind its stages; in pre-training it takes no part.
_UNTRAINED = ("norm.", "head.")


def published_tensors(model: MaskedPretraining | FrequencyPretraining | MaskedITPN) -> dict[str, Tensor]:
    """The tensors of a published file: ``backbone.*`` and ``neck.*``, as a detector or segmentor calls them.

    The norms of the levels are those of the backbone's dense outputs, ``backbone.out_norms.*``. Head, tokens and
    teacher stay behind, and so do a final norm and a classifier of the backbone, which were not trained. Of iTPN the
    pyramid is ``backbone.pyramid.*``, since its backbone for detectors has it.
    """
    if isinstance(model, MaskedITPN):
        return _own({f"backbone.{name}": tensor for name, tensor in model.network_tensors().items()})
    state = model.backbone.state_dict()
    if isinstance(model.backbone, SpectralNet):
        state = {name: tensor for name, tensor in state.items() if not name.startswith(_UNTRAINED)}
    norms = (model.norms if isinstance(model, FrequencyPretraining) else model.head.norms).state_dict()
    if isinstance(model, FrequencyPretraining) and model.backbone.fusion == "concat":
        norms = {}  # of maps before they are fused
    tensors = {f"backbone.{name}": tensor for name, tensor in state.items()}
    tensors |= {f"backbone.out_norms.{name}": tensor for name, tensor in norms.items()}
    if model.neck is not None:
        tensors |= {f"neck.{name}": tensor for name, tensor in model.neck.state_dict().items()}
    return _own(tensors)


def _own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
    of the backbone and the same with ``prefix="neck."`` of the neck, and, for networks of this project, as
    ``timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=dict(file=PATH))``. timm's other networks know no
    prefix: they are loaded without ``backbone.`` before the names. mmdet's and mmseg's FPN have the same names.
    mmengine reads safetensors files once :func:`backbones.openmmlab.read_safely` was called, as the commands of this
    project do; embeddings of another size are resized by this project's runner and by ``init_cfg``, not by mmengine's
    own runner.

    Args:
        model: A :class:`MaskedPretraining`, :class:`FrequencyPretraining`, :class:`ITPNPretraining` or
            :class:`ITPNFeaturePretraining`, also inside a data-parallel wrapper.
        path: The file, ``*.safetensors``; it is there whole or not at all.
        source: What it was trained on, and how, in a few words.
        neck_config: Of the neck, as in a config; by default what the model was built with, if that is known. iTPN's
            pyramid is no neck: its sizes are told anyway.

    Returns:
        The metadata of the file, all strings; numbers and lists are JSON.

    Raises:
        TypeError: ``model`` is another one.
        ValueError: ``path`` has another extension, or there is a ``neck_config`` and no neck.
        OSError: It cannot be written.
    """
    model = getattr(model, "module", model)
    if not isinstance(model, (MaskedPretraining, FrequencyPretraining, MaskedITPN)):
        raise TypeError(f"model must be a model of masked pre-training, got {type(model).__name__}")
    if isinstance(model, MaskedITPN) and neck_config is not None:
        raise ValueError("neck_config must be None for iTPN, whose pyramid is a part of its backbone")
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {path}")
    tensors = published_tensors(model)
    facts = _itpn_facts(model) if isinstance(model, MaskedITPN) else _facts(model, neck_config)
    facts = {"format": "pt", **facts, "source": source or None, "version": __version__}
    metadata = {n: v if isinstance(v, str) else json.dumps(v, default=str) for n, v in facts.items() if v is not None}
    write_checkpoint(path, lambda part: save_file(tensors, part, metadata=metadata))
    return metadata


def _itpn_facts(model: MaskedITPN) -> dict[str, Any]:
    holds = "backbone with its pyramid of a masked pre-training"
    return {"holds": holds, "network": describe(model.network_tensors()), **model.facts()}


def _facts(model: MaskedPretraining | FrequencyPretraining, neck_config: Mapping[str, Any] | None) -> dict[str, Any]:
    backbone, neck = model.backbone, model.neck
    state = backbone.state_dict()
    found = outline(state)
    holds = "backbone and neck" if neck is not None else "backbone"
    facts: dict[str, Any] = {
        "holds": f"{holds} of a {'frequency' if isinstance(model, FrequencyPretraining) else 'masked'} pre-training",
        "network": describe(state) if found else type(backbone).__name__,
        "neck": type(neck).__name__ if neck is not None else None,
        "neck_config": neck_config or getattr(model, "neck_config", None),
        "steps": int(model.steps),
    }
    if isinstance(model, FrequencyPretraining):
        facts |= model.facts()
    else:
        facts |= {"unit": model.mask.unit, "ratio": model.mask.ratio, "fill": model.fill}
        facts["targets"] = model.target_generator.weights
    if found is not None:
        facts["family"] = " or ".join(families_of(state)) or None
        facts |= {"dims": found.dims, "depths": found.depths, "arch": found.size, "img_size": backbone.img_size}
    return facts
