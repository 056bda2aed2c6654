"""RS-vHeat in timm, in every size."""

from __future__ import annotations

import sys
from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import nn

from backbones.archs import ARCHS
from backbones.remote_sensing import OPTICAL, SAR, ModalitySpec, RSVHeat
from backbones.weights.cards import pretrained_cfg
from backbones.weights.pretrained import build

__all__ = ["RS_VHEAT_MODELS"]

#: timm names of all models here.
RS_VHEAT_MODELS = tuple(f"rs_vheat_{arch}" for arch in ARCHS)


def _input(modalities: Any) -> dict[str, Any]:
    """What timm is told of packed images: they are normalised inside of the network, so nothing is left to do.

    But that timm's transforms make 0 to 1 of bytes, which the network takes as they are.
    """
    specs = [ModalitySpec.of(given) for given in modalities]
    std = tuple(1 / 255 if spec.unit == "uint8" else 1.0 for spec in specs for _ in spec.bands)
    first = tuple(f"stem.{spec.name}.conv1" for spec in specs)
    return {"input_size": (len(std), 224, 224), "mean": (0.0,) * len(std), "std": std, "first_conv": first}


default_cfgs = generate_default_cfgs(
    {
        name: pretrained_cfg(name, "arXiv:2411.17984", **_input((OPTICAL, SAR)), num_classes=0)
        for name in RS_VHEAT_MODELS
    }
)


def _define(name: str) -> None:
    """Make ``rs_vheat_{arch}`` a function of this module and a model of timm."""
    arch = name.removeprefix("rs_vheat_")

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        bands = len(_input(kwargs.get("modalities", (OPTICAL, SAR)))["std"])
        if (given := kwargs.pop("in_chans", None)) not in (None, bands):  # folders that timm wrote give it
            raise TypeError(
                f"{name} has no in_chans: its channels are the bands of modalities=, which are {bands}; got {given}"
            )
        if "modalities" in kwargs:
            overlay = kwargs.get("pretrained_cfg_overlay") or {}
            kwargs["pretrained_cfg_overlay"] = {**_input(kwargs["modalities"]), **overlay}
        # timm would hand over the channels of its configuration.
        own = {"kwargs_filter": ("in_chans",), "stages_give": "the maps of each modality, not yet fused"}
        return build(name, RSVHeat, pretrained, **{"arch": arch, **kwargs}, **own)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"RS-vHeat, {arch}: heat conduction guided by a learned map, for images of several modalities."
    setattr(sys.modules[__name__], name, create)
    register_model(create)


for _name in RS_VHEAT_MODELS:
    _define(_name)
