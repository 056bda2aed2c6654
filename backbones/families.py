"""The families: one network class, and for each family the spectral operator it mixes tokens with.

A new family is a function from a width to an operator, and a line in :data:`FAMILIES`; timm and OpenMMLab get its
models from there. What else the function takes becomes an argument of the models.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import nn

from backbones.archs import ARCHS
from backbones.weights.cards import PUBLISHED, pretrained_cfg
from backbones.weights.pretrained import build
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
    SoftplusEmbedding,
    SpectralOperator,
    Wave,
)

__all__ = ["DIFFUSIVITIES", "FAMILIES", "Family", "heat_operator", "operator_options"]


@dataclass(frozen=True)
class Family:
    """Models that differ in size alone.

    Attributes:
        title: Its name in OpenMMLab configs and in texts.
        operator: From a width C to the operator of a block, over ``dims=(1, 2)``; further arguments have defaults.
        source: Where it was published, in timm's form.
    """

    title: str
    operator: Callable[..., SpectralOperator]
    source: str

    @property
    def summary(self) -> str:
        """What the operator is, in a sentence."""
        return inspect.getdoc(self.operator).partition("\n")[0]


def operator_options(operator: Callable[..., SpectralOperator]) -> tuple[str, ...]:
    """Names of the arguments of a family's operator beside the width."""
    return tuple(inspect.signature(operator).parameters)[1:]


#: Where the diffusivity of :func:`heat_operator` can come from, by name.
DIFFUSIVITIES: dict[str, Callable[[int], float | nn.Module]] = {
    "embedding": FromEmbedding,
    "free": lambda channels: SoftplusEmbedding(),
    "channel": lambda channels: Softplus(0.5, (channels,)),
    "constant": lambda channels: 0.5,
}


def heat_operator(channels: int, diffusivity: str | float = "embedding") -> Heat:
    r"""vHeat's operator: heat for unit time, its diffusivity predicted per mode and channel from the embedding.

    Other sources of k for mode (n, m) and channel c, with E the spectral embedding that the blocks of a stage share:

    ============= =================================================== ==================================================
    diffusivity   k                                                   learned
    ============= =================================================== ==================================================
    "embedding"   :math:`\mathrm{ReLU}(W E_{nm} + b)_c`               E, and W and b of each block; as published
    "free"        :math:`\mathrm{softplus}(E_{nmc})`                  E: k itself, shared by the blocks of a stage
    "channel"     :math:`\mathrm{softplus}(r_c)`, at first 1/2        r of each block
    "constant"    1/2: unit time blurs by a standard deviation of 1   nothing
    a number      that number, >= 0                                   nothing
    ============= =================================================== ==================================================

    Raises:
        ValueError: ``diffusivity`` is none of these.
    """
    if isinstance(diffusivity, str):
        if diffusivity not in DIFFUSIVITIES:
            raise ValueError(f"diffusivity must be one of {tuple(DIFFUSIVITIES)} or a number, got {diffusivity!r}")
        return Heat(DIFFUSIVITIES[diffusivity](channels), dims=(1, 2))
    return Heat(diffusivity, dims=(1, 2))


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


def _tag(name: str) -> str:
    return f"{name}.in1k" if name in PUBLISHED else name


default_cfgs = generate_default_cfgs(
    {
        _tag(f"{name}_{arch}"): pretrained_cfg(f"{name}_{arch}", family.source)
        for name, family in FAMILIES.items()
        for arch in ARCHS
    }
)


def _register(name: str, arch: str) -> None:
    """Make ``{name}_{arch}`` a function of this module and a model of timm."""
    family = FAMILIES[name]

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        options = {key: kwargs.pop(key) for key in operator_options(family.operator) if key in kwargs}
        operator = partial(family.operator, **options)
        return build(f"{name}_{arch}", operator, pretrained, **{**ARCHS[arch], **kwargs})

    create.__name__ = create.__qualname__ = f"{name}_{arch}"
    create.__doc__ = f"{family.title}, {arch}. {family.summary}"
    setattr(sys.modules[__name__], create.__name__, create)
    register_model(create)


for _name in FAMILIES:
    for _arch in ARCHS:
        _register(_name, _arch)
