"""The models of this project by their timm names, as parameters of tests."""

from __future__ import annotations

import fnmatch

import pytest
import timm
import torch
from torch import Tensor, nn

import backbones

NAMES = [f"{family}_{arch}" for family in backbones.FAMILIES for arch in backbones.ARCHS]
#: Of the images, where nothing else is asked for.
SIZE = (64, 96)


def names(*by_default: str) -> pytest.MarkDecorator:
    """A test over all models, of which only those that match run by default; the others are marked ``sweep``."""

    def runs(name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in by_default)

    return pytest.mark.parametrize("name", [n if runs(n) else pytest.param(n, marks=pytest.mark.sweep) for n in NAMES])


every = names("*_nano")
cheap = names("*_nano", "vheat_tiny")


def create(name: str, **options: object) -> nn.Module:
    """A model of timm, from the same seed each time."""
    torch.manual_seed(0)
    return timm.create_model(name, **options)


def images(*size: int, batch: int = 1, channels: int = 3) -> Tensor:
    """The same random images each time."""
    return torch.randn(batch, channels, *(size or SIZE), generator=torch.Generator().manual_seed(1))
