"""Shared by the tests of pre-training: small models of a backbone and mmdet's FPN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import nn

from backbones.pretraining import MaskedPretraining, RandomUnits

try:
    from mmdet.models.necks import FPN
except ModuleNotFoundError as error:  # `make bounds` leaves the mm packages out
    if error.name != "mmdet":
        raise
    from plain_fpn import FPN

WIDTHS = (8, 12, 16, 20)


def _backbone(name: str = "vheat", **options: Any) -> nn.Module:
    """A network of four narrow stages."""
    arch = {"dims": WIDTHS, "depths": (1, 1, 2, 1), "init_std": None, "num_classes": 0, "img_size": 64}
    return timm.create_model(f"{name}_nano", **{**arch, **options})


def _fpn(width: int = 16, **options: Any) -> nn.Module:
    neck = FPN(list(WIDTHS), width, 5, **options)
    neck.init_weights()
    return neck


@pytest.fixture
def make_backbone() -> Callable[..., nn.Module]:
    return _backbone


@pytest.fixture
def make_neck() -> Callable[..., nn.Module]:
    return _fpn


@pytest.fixture
def make_model(randomise: Callable[..., nn.Module]) -> Callable[..., MaskedPretraining]:
    """A model whose backbone and neck have random parameters of order one."""

    def make(name: str = "vheat", *, network: dict[str, Any] | None = None, **options: Any) -> MaskedPretraining:
        torch.manual_seed(0)
        slots = {"neck": _fpn(), "mask": RandomUnits(16, 0.6), **options}
        backbone = randomise(_backbone(name, **(network or {})))
        return MaskedPretraining(backbone, **slots)

    return make
