"""The families: one network class, and for each family the spectral operator it mixes tokens with.

A new family is a function from a width to an operator, and a line in :data:`FAMILIES`; timm and OpenMMLab get its
models from there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from backbones.network import SpectralNet
from spectral_ops import (
    Bounded,
    FractionalHeat,
    FromEmbedding,
    Heat,
    InputRouter,
    Mixture,
    Poisson,
    Softmax,
    Softplus,
    SpectralOperator,
    Wave,
)

__all__ = ["ARCHS", "FAMILIES", "Family", "heat_operator"]

#: The sizes. Tiny is pre-norm; small and base are post-norm with layer scale, as published for vHeat. Nano is this
#: project's own, for tests and training on a laptop.
ARCHS: dict[str, dict[str, Any]] = {
    "nano": {"dims": (32, 64, 128, 256), "depths": (1, 1, 3, 1), "init_std": None},
    "tiny": {"dims": (96, 192, 384, 768), "depths": (2, 2, 6, 2)},
    "small": {
        "dims": (96, 192, 384, 768),
        "depths": (2, 2, 18, 2),
        "norm_placement": "post",
        "layer_scale": 1e-5,
    },
    "base": {
        "dims": (128, 256, 512, 1024),
        "depths": (2, 2, 18, 2),
        "norm_placement": "post",
        "layer_scale": 1e-5,
    },
}


@dataclass(frozen=True)
class Family:
    """Models that differ in size alone.

    Attributes:
        title: Its name in OpenMMLab configs and in texts.
        operator: From a width C to the operator of a block, over ``dims=(1, 2)``.
        source: Where it was published, in timm's form.
    """

    title: str
    operator: Callable[[int], SpectralOperator]
    source: str


def heat_operator(channels: int) -> Heat:
    """vHeat's operator: heat for unit time, its diffusivity predicted per mode and channel from the embedding."""
    return Heat(diffusivity=FromEmbedding(channels), dims=(1, 2))


def wave_operator(channels: int) -> Wave:
    """The damped wave from rest, speed and damping learned per channel; they start at WaveFormer's 1 and 0.1."""
    return Wave(Softplus(1.0, (channels,)), 1.0, Softplus(0.1, (channels,)), dims=(1, 2))


def _tails(channels: int) -> list[SpectralOperator]:
    return [
        Heat(FromEmbedding(channels), dims=(1, 2)),
        FractionalHeat(FromEmbedding(channels), order=0.5, dims=(1, 2)),
    ]


def tail_operator(channels: int) -> Mixture:
    """TailProp: heat and Cauchy, mixed per channel by a gate that sees the input's mean."""
    return Mixture(_tails(channels), weights=InputRouter(channels, 2, reduction=8))


def static_tail_operator(channels: int) -> Mixture:
    """TailProp with a gate that is learned but does not see the input, so that it can be precomputed."""
    return Mixture(_tails(channels), weights=Softmax(2, (channels,)))


def poisson_operator(channels: int) -> Poisson:
    """Screened Poisson, the screening learned per channel between 0.05 and 20."""
    return Poisson(Bounded(1.0, 0.05, 20.0, (channels,)), dims=(1, 2))


def mix_operator(channels: int) -> Mixture:
    """Heat, damped wave and screened Poisson, with weights learned per channel that add up to 1."""
    operators = [heat_operator(channels), wave_operator(channels), poisson_operator(channels)]
    return Mixture(operators, weights=Softmax(3, (channels,)))


#: Every family by the first part of its timm names.
FAMILIES: dict[str, Family] = {
    "vheat": Family("VHeat", heat_operator, "arXiv:2405.16555"),
    "vwave": Family("VWave", wave_operator, "WaveFormer, AAAI 2026"),
    "vtail": Family("VTail", tail_operator, "arXiv:2609.11081"),
    "vtail_static": Family("VTailStatic", static_tail_operator, "arXiv:2609.11081"),
    "vpoisson": Family("VPoisson", poisson_operator, ""),
    "vmix": Family("VMix", mix_operator, ""),
}


def _cfg(source: str) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "fixed_input_size": False,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": "stem.conv1",
        "classifier": "head.fc",
        "paper_ids": source,
    }


default_cfgs = generate_default_cfgs(
    {f"{name}_{arch}": _cfg(family.source) for name, family in FAMILIES.items() for arch in ARCHS}
)


def _register(name: str, arch: str) -> None:
    """Make ``{name}_{arch}`` a function of this module and a model of timm."""
    family = FAMILIES[name]

    def build(pretrained: bool = False, **kwargs: Any) -> SpectralNet:
        return build_model_with_cfg(
            SpectralNet,
            f"{name}_{arch}",
            pretrained,
            feature_cfg={"out_indices": (0, 1, 2, 3), "feature_cls": "getter"},
            **{"operator": family.operator, **ARCHS[arch], **kwargs},
        )

    build.__name__ = build.__qualname__ = f"{name}_{arch}"
    build.__doc__ = f"{family.title}, {arch}. {family.operator.__doc__}"
    setattr(sys.modules[__name__], build.__name__, build)
    register_model(build)


for _name in FAMILIES:
    for _arch in ARCHS:
        _register(_name, _arch)
