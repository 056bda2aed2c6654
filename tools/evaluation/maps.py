"""What maps a backbone returns, and a config whose neck or heads take them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from spectral_ops import SpectralOperator

#: What mmseg's Feature2Pyramid can do with a map.
_RESCALES = (4, 2, 1, 0.5, 0.25)


@dataclass(frozen=True)
class Maps:
    """The maps of a backbone.

    Attributes:
        channels: Of each map.
        strides: Pixels per position of each map.
        levels: Pixels per position that neck and heads are made for; those of the task's own backbone.
        linears: Names of the backbone's linear layers.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    levels: tuple[int, ...]
    linears: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether all maps are of one scale and width, as those of a plain ViT, and the levels are not."""
        return len(set(self.strides)) == len(set(self.channels)) == 1 < len(set(self.levels))


@torch.no_grad()
def probe(
    backbone: dict[str, Any], sizes: Sequence[tuple[int, int]], scope: str, channels: int = 3
) -> tuple[nn.Module, list[tuple[int, int]]]:
    """Build a backbone, and run it on images of some sizes: channels and stride of each map.

    Raises:
        ValueError: It cannot be built, or takes no images of such a size.
    """
    init_default_scope(scope)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = MODELS.build(backbone)
        net.eval()  # by itself: mmdet's ResNet does not return itself
    except Exception as error:  # whatever its author raises
        raise ValueError(f"the backbone cannot be built: {_short(error)}") from error
    found: list[tuple[int, int]] = []
    for height, width in dict.fromkeys(sizes):
        try:
            maps = net(torch.zeros(1, channels, height, width))
            found = [(m.shape[1], stride_of(height, m.shape[2])) for m in maps]
        except Exception as error:
            raise ValueError(f"the backbone cannot take images of {height} x {width} px: {_short(error)}") from error
    return net, found


def stride_of(pixels: int, positions: int) -> int:
    """The stride that makes so many positions of so many pixels, what is left at the edge padded or dropped.

    Of several it is a power of two if one is among them, or else the least.

    Example:
        >>> stride_of(240, 8), stride_of(224, 16), stride_of(225, 7)
        (32, 14, 32)
    """
    fitting = [s for s in range(1, pixels + 1) if positions in (-(-pixels // s), pixels // s)]
    powers = [s for s in fitting if s & (s - 1) == 0]
    return (powers or fitting or [round(pixels / positions)])[0]


def linear_layers(net: nn.Module) -> tuple[str, ...]:
    """Names of all linear layers but those inside operators, which make physics: LoRA's where nothing else is said."""
    physics = {m for operator in net.modules() if isinstance(operator, SpectralOperator) for m in operator.modules()}
    return tuple(name for name, m in net.named_modules() if type(m) is nn.Linear and m not in physics)


def fit_maps(config: Config, maps: Maps) -> None:
    """Change a config's neck or heads to take other maps: their channels, and a pyramid for plain networks.

    The pyramid is mmseg's Feature2Pyramid, before the neck or in the place of one.

    Raises:
        ValueError: There are more or fewer maps than before, or of other scales.
    """
    if len(maps.strides) != len(maps.levels):
        raise ValueError(f"the backbone returns {len(maps.strides)} maps, the task's model takes {len(maps.levels)}")
    detects = config.default_scope == "mmdet"
    pyramid = _pyramid(maps) if maps.plain else None
    if not pyramid and detects and maps.strides != maps.levels:
        raise ValueError(f"the backbone's maps have strides {maps.strides}, the task's model takes {maps.levels}")
    model, channels = config.model, list(maps.channels)
    if model.get("neck"):
        necks = model.neck if isinstance(model.neck, list) else [model.neck]
        if "in_channels" not in necks[0]:
            raise ValueError(f"neck {necks[0].get('type')} has no in_channels that could be changed")
        if list(necks[0].in_channels) != channels:
            necks[0].in_channels = channels
        model.neck = [pyramid, *necks] if pyramid else model.neck
    else:
        if pyramid:
            model.neck = pyramid
        for name in ("decode_head", "auxiliary_head"):
            heads = model.get(name) or []
            for head in heads if isinstance(heads, list) else [heads]:
                _fit_head(head, channels)
    if pyramid and detects:
        imports = config.get("custom_imports") or {"imports": [], "allow_failed_imports": False}
        config.custom_imports = {**imports, "imports": [*imports["imports"], "mmseg.models"]}


def _fit_head(head: Any, channels: list[int]) -> None:
    index = head.get("in_index", -1)
    taken = [channels[i] for i in index] if isinstance(index, (list, tuple)) else channels[index]
    if head.get("in_channels") != taken:
        head.in_channels = taken


def _pyramid(maps: Maps) -> dict[str, Any]:
    rescales = [maps.strides[0] / level for level in maps.levels]
    if any(r not in _RESCALES for r in rescales):
        raise ValueError(
            f"a plain network of stride {maps.strides[0]} cannot be brought to strides {maps.levels} by Feature2Pyramid"
        )
    return {
        **{"type": "mmseg.Feature2Pyramid", "embed_dim": maps.channels[0]},
        **{"rescales": [int(r) if r >= 1 else r for r in rescales], "norm_cfg": {"type": "BN", "requires_grad": True}},
    }


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
