"""The operators that networks mix tokens with: functions from a width to an operator, by name and with options.

Whatever such a function takes beside the width becomes an argument of the models that use it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from backbones.place import OperatorFactory
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

__all__ = [
    "DIFFUSIVITIES",
    "OPERATORS",
    "OperatorSpec",
    "heat_operator",
    "operator_factories",
    "operator_options",
]


def operator_options(operator: Callable[..., SpectralOperator]) -> tuple[str, ...]:
    """Names of the arguments of such a function beside the width."""
    return tuple(inspect.signature(operator).parameters)[1:]


#: Where the diffusivity of :func:`heat_operator` can come from, by name.
DIFFUSIVITIES: dict[str, Callable[[int], float | nn.Module]] = {
    "embedding": FromEmbedding,
    "free": lambda channels: SoftplusEmbedding(),
    "channel": lambda channels: Softplus(0.5, (channels,)),
    "constant": lambda channels: 0.5,
}


def heat_operator(channels: int, diffusivity: str | float = "embedding", per_axis: bool = False) -> Heat:
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

    With ``per_axis`` heat spreads along each axis at a rate of its own, :math:`u_t = k_y u_{yy} + k_x u_{xx}`: two
    diffusivities, each from weights of its own, in place of one. It takes no more transforms; with precomputed gains it
    is the same network.

    Raises:
        ValueError: ``diffusivity`` is none of these, or not learned by each block and ``per_axis`` is true.
        TypeError: ``per_axis`` is no bool.
    """
    if isinstance(diffusivity, str) and diffusivity not in DIFFUSIVITIES:
        raise ValueError(f"diffusivity must be one of {tuple(DIFFUSIVITIES)} or a number, got {diffusivity!r}")
    if not isinstance(per_axis, bool):
        raise TypeError(f"per_axis must be a bool, got {per_axis!r}")
    if per_axis:
        if diffusivity not in ("embedding", "channel"):
            raise ValueError(f"per_axis takes a diffusivity of 'embedding' or 'channel', got {diffusivity!r}")
        return Heat([DIFFUSIVITIES[diffusivity](channels) for _ in "yx"], dims=(1, 2))
    return Heat(DIFFUSIVITIES[diffusivity](channels) if isinstance(diffusivity, str) else diffusivity, dims=(1, 2))


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


#: The operators by the names that ``operator=`` takes.
OPERATORS: dict[str, Callable[..., SpectralOperator]] = {
    "heat": heat_operator,
    "wave": wave_operator,
    "tail": tail_operator,
    "tail_static": static_tail_operator,
    "poisson": poisson_operator,
    "mix": mix_operator,
}

#: One operator: its name, a dict of its name as ``type`` and its options, or a function from a width to it.
OperatorSpec = str | Mapping[str, Any] | OperatorFactory


def operator_factories(spec: OperatorSpec | Sequence[OperatorSpec]) -> OperatorFactory | list[OperatorFactory]:
    """From what a config says to what :class:`~backbones.SpectralNet` takes.

    Args:
        spec: One :data:`OperatorSpec` for all stages, or a sequence with one for each.

    Raises:
        TypeError: It is none, or an operator has no such option.
        ValueError: No operator has that name.

    Example:
        >>> heat, wave = operator_factories([{"type": "heat", "diffusivity": 0.5}, "wave"])
        >>> heat(16)
        Heat(diffusivity=0.5, time=1, dims=(1, 2))
    """
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        return [_factory(each) for each in spec]
    return _factory(spec)


def _factory(spec: OperatorSpec) -> OperatorFactory:
    if callable(spec) and not isinstance(spec, nn.Module):
        return spec
    if not isinstance(spec, (str, Mapping)):
        raise TypeError(
            f"operator must be a name, a dict with its type, or a function from a width to an operator, got {spec!r}"
        )
    options = {"type": spec} if isinstance(spec, str) else dict(spec)
    name = options.pop("type", None)
    if name not in OPERATORS:
        raise ValueError(f"operator must be one of {tuple(OPERATORS)}, got {name!r}")
    accepted = operator_options(OPERATORS[name])
    if unknown := sorted(set(options) - set(accepted)):
        raise TypeError(f"operator {name!r} has no option {unknown[0]!r}: it takes {accepted}")
    return partial(OPERATORS[name], **options)
