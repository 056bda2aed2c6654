"""Which families there are: one network class, and for each family the spectral operator it mixes tokens with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from backbones.operators import (
    heat_operator,
    mix_operator,
    poisson_operator,
    static_tail_operator,
    tail_operator,
    wave_operator,
)
from spectral_ops import SpectralOperator

__all__ = ["FAMILIES", "Family"]


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
        return (inspect.getdoc(self.operator) or "").partition("\n")[0]


#: Every family by the first part of its timm names; :func:`backbones.register` adds to it.
FAMILIES: dict[str, Family] = {
    "vheat": Family("VHeat", heat_operator, "arXiv:2405.16555"),
    "vwave": Family("VWave", wave_operator, "WaveFormer, AAAI 2026"),
    "vtail": Family("VTail", tail_operator, "arXiv:2609.11081"),
    "vtail_static": Family("VTailStatic", static_tail_operator, "arXiv:2609.11081"),
    "vpoisson": Family("VPoisson", poisson_operator, ""),
    "vmix": Family("VMix", mix_operator, ""),
}
