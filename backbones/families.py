"""Models of every family in timm, and a public way to add a family of one's own."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from timm.models import generate_default_cfgs, is_model, register_model
from torch import nn

from backbones.archs import ARCHS
from backbones.catalogue import FAMILIES, Family
from backbones.network import SpectralNet
from backbones.operators import operator_factories, operator_options
from backbones.weights.cards import PUBLISHED, pretrained_cfg
from backbones.weights.pretrained import build
from spectral_ops import SpectralOperator

__all__ = ["FAMILIES", "Family", "on_register", "register"]

#: timm's configuration of every model, by name; timm looks for it in the module of a model function.
default_cfgs: dict[str, Any] = {}

#: Arguments of timm's create_model and of the backbones of OpenMMLab, which an operator's cannot be called.
_TAKEN = {
    "arch", "cache_dir", "checkpoint_path", "exportable", "feature_cfg", "features_only", "frozen_stages",
    "init_cfg", "kwargs_filter", "model_name",
    "no_jit", "out_indices", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "scriptable",
    "with_cp",
}  # fmt: skip

_LISTENERS: list[Callable[[Family], object]] = []


def on_register(listener: Callable[[Family], object]) -> None:
    """Call ``listener`` with every family that there is, and with every one that is registered from now on."""
    _LISTENERS.append(listener)
    for family in FAMILIES.values():
        listener(family)


def register(
    name: str, operator: Callable[..., SpectralOperator], *, title: str | None = None, source: str = ""
) -> Family:
    """Make models of an operator: timm names in every size, and a backbone of OpenMMLab.

    Args:
        name: First part of the timm names, which are ``{name}_{size}`` for every size of ``backbones.ARCHS``.
        operator: From a width C to the operator of a block, over ``dims=(1, 2)``. The first line of its docstring
            describes the models; whatever it takes beside the width, with defaults, is an argument of them.
        title: What OpenMMLab configs call it, ``dict(type=title, arch="tiny")``; by default the name with its first
            two letters and each letter behind an underscore capitalised, as in VHeat.
        source: Where it was published, in timm's form (``"arXiv:2405.16555"``).

    Returns:
        The family. Models are made by ``timm.create_model(f"{name}_tiny")``, and by ``backbones.openmmlab`` whether it
        was imported before or will be.

    Raises:
        TypeError: ``operator`` is not a function from a width, or has an argument without default or with the name of
            one of the models'.
        ValueError: The name or the title is no identifier, or is taken. Nothing is registered then.

    Example:
        >>> import timm, torch
        >>> from spectral_ops import FractionalHeat, Softplus
        >>> def cauchy(channels, order=0.5):
        ...     '''Fractional heat, its diffusivity learned per channel.'''
        ...     return FractionalHeat(Softplus(0.5, (channels,)), order, dims=(1, 2))
        >>> register("vcauchy", cauchy).title
        'VCauchy'
        >>> timm.create_model("vcauchy_nano", num_classes=10, order=0.7)(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 10])
    """
    if not name.isidentifier():
        raise ValueError(f"name must be an identifier, got {name!r}")
    _check_options(operator)
    title = title or name[:1].upper() + "".join(part[:1].upper() + part[1:] for part in name[1:].split("_"))
    if not title.isidentifier():
        raise ValueError(f"title must be an identifier, got {title!r}")
    taken = [n for n, family in FAMILIES.items() if n == name or family.title == title]
    taken += [f"{name}_{arch}" for arch in ARCHS if is_model(f"{name}_{arch}")]
    if taken:
        raise ValueError(f"{name!r} ({title}) cannot be registered: {', '.join(taken)} exists already")
    family = Family(title, operator, source)
    for listener in _LISTENERS:  # they may refuse it, so they come first
        listener(family)
    FAMILIES[name] = family
    _enter(name, family)
    return family


def _check_options(operator: Callable[..., SpectralOperator]) -> None:
    if not callable(operator) or isinstance(operator, nn.Module) or not inspect.signature(operator).parameters:
        raise TypeError(f"operator must be a function from a width to an operator, got {operator!r}")
    _, *options = inspect.signature(operator).parameters.values()
    taken = {*inspect.signature(SpectralNet).parameters, *_TAKEN}
    for option in options:
        if option.kind not in (option.POSITIONAL_OR_KEYWORD, option.KEYWORD_ONLY) or option.default is option.empty:
            raise TypeError(f"arguments of an operator beside the width must be named and have defaults, got {option}")
        if option.name in taken:
            raise TypeError(f"an operator's argument cannot be called {option.name!r}: models have one of that name")


def _enter(family_name: str, family: Family) -> None:
    """Give a family's models to timm."""
    names = [f"{family_name}_{arch}" for arch in ARCHS]
    tags = {name: f"{name}.in1k" if name in PUBLISHED else name for name in names}
    default_cfgs.update(generate_default_cfgs({tags[name]: pretrained_cfg(name, family.source) for name in names}))
    for name, arch in zip(names, ARCHS, strict=True):
        _define(name, family, arch)


def _define(name: str, family: Family, arch: str) -> None:
    """Make ``{name}_{arch}`` a function of this module and a model of timm."""

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        options = {key: kwargs.pop(key) for key in operator_options(family.operator) if key in kwargs}
        operator = partial(family.operator, **options)
        if "operator" in kwargs:
            if options:
                raise TypeError(f"operator= has options of its own: {sorted(options)} cannot be given beside it")
            operator = operator_factories(kwargs.pop("operator"))
        return build(name, partial(SpectralNet, operator), pretrained, **{**ARCHS[arch], **kwargs})

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"{family.title}, {arch}. {family.summary}"
    setattr(sys.modules[__name__], create.__name__, create)
    register_model(create)


for _name, _family in FAMILIES.items():
    _enter(_name, _family)
