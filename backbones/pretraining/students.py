"""How a backbone sees masked images: which maps it gives, and what stands in the place of hidden cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from backbones.blocks import visible_at_half_size
from backbones.network import SpectralNet

__all__ = ["FILLS", "Fill", "Level", "check_backbone", "dense_maps", "hidden_cells", "levels_of", "masked_maps"]

Fill = Literal["remask", "token", "grey"]
FILLS: tuple[Fill, ...] = get_args(Fill)


class Level(NamedTuple):
    """A map of a backbone or of a neck.

    Attributes:
        index: Of the stage, or of the neck's output.
        channels: Its width.
        stride: Pixels from cell to cell.
    """

    index: int
    channels: int
    stride: int


def levels_of(backbone: nn.Module) -> list[Level]:
    """The maps of a backbone that go to a neck: those of its ``out_indices``, or of all its stages.

    A network that returns its maps, timm's with ``features_only`` for example, is asked for those it returns.

    Raises:
        TypeError: It has no ``feature_info``.

    Example:
        >>> import timm
        >>> levels_of(timm.create_model("vheat_nano"))[-1]
        Level(index=3, channels=256, stride=32)
    """
    info = getattr(backbone, "feature_info", None)
    if info is None:
        raise TypeError(f"backbone must have timm's feature_info, {type(backbone).__name__} has none")
    if hasattr(info, "get_dicts"):
        return [Level(i, each["num_chs"], each["reduction"]) for i, each in enumerate(info.get_dicts())]
    indices = getattr(backbone, "out_indices", None)
    each = list(info)
    return [
        Level(i, each[i]["num_chs"], each[i]["reduction"]) for i in (range(len(each)) if indices is None else indices)
    ]


def check_backbone(backbone: nn.Module, fill: str) -> None:
    """Raise unless a backbone can be pre-trained with this fill.

    Raises:
        ValueError: There is no such fill.
        TypeError: The backbone takes no masks, or cannot give maps of its stages.
    """
    if fill not in FILLS:
        raise ValueError(f"fill must be one of {FILLS}, got {fill!r}")
    name = type(backbone).__name__
    if fill != "grey" and not isinstance(backbone, SpectralNet):
        raise TypeError(f"fill={fill!r} needs a spectral network, which takes a mask: {name} can have fill='grey'")
    asked = ("forward_stages", "forward_intermediates")
    if not any(hasattr(backbone, method) for method in asked) and not _returns_maps(backbone):
        raise TypeError(f"backbone must have timm's forward_intermediates or features_only, {name} has neither")


def _returns_maps(backbone: nn.Module) -> bool:
    return hasattr(getattr(backbone, "feature_info", None), "get_dicts")


def dense_maps(net: nn.Module, images: Tensor) -> list[Tensor]:
    """What a network returns that returns its maps, channels-last."""
    last = str(getattr(net, "output_fmt", "NCHW")).rpartition(".")[2] == "NHWC"
    return [m if last else m.permute(0, 2, 3, 1) for m in net(images)]


def masked_maps(
    backbone: nn.Module, images: Tensor, hidden: Tensor | None, fill: Fill, token: Tensor | None = None
) -> list[Tensor]:
    """The maps of partly hidden images, channels-last. No hidden pixel changes them.

    Args:
        backbone: A spectral network, or with fill ``"grey"`` any with timm's ``forward_intermediates`` or
            ``features_only``.
        images: ``(B, C, H, W)``, normalised: 0 is the mean colour.
        hidden: Bool, ``(B, 1, H, W)``, True where a pixel is hidden; None for none.
        fill: ``"remask"``: hidden cells are zero wherever the network mixes cells. ``"token"``: the stem sees no hidden
            pixel, a learned token stands in hidden cells behind it, and the stages go on with all cells, as in SimMIM.
            ``"grey"``: hidden pixels have the mean colour, and the network goes on with them.
        token: Of fill ``"token"``, as wide as the first map.
    """
    wanted = [level.index for level in levels_of(backbone)]
    if hidden is None or fill == "grey":
        x = images if hidden is None else images.masked_fill(hidden, 0)
        if hasattr(backbone, "forward_stages"):
            maps: Sequence[Tensor] = backbone.forward_stages(x)
            return [maps[i] for i in wanted]
        if _returns_maps(backbone):
            return dense_maps(backbone, x)
        found = backbone.forward_intermediates(x, wanted, output_fmt="NCHW", intermediates_only=True)
        return [m.permute(0, 2, 3, 1) for m in found]
    if fill == "remask":
        maps = backbone.forward_stages(images, visible=~hidden)
        return [maps[i] for i in wanted]
    x = backbone.stem(images, ~hidden)
    x = torch.where(hidden_cells(hidden, [4])[0], token, x)
    maps = []
    for stage in backbone.stages:
        maps.append(x := stage(x))
    return [maps[i] for i in wanted]


def hidden_cells(hidden: Tensor, strides: Sequence[int]) -> list[Tensor]:
    """The cells ``(B, H', W', 1)`` of which no pixel is seen, on the maps of these strides.

    Args:
        hidden: Bool, ``(B, 1, H, W)``.
        strides: Powers of two, ascending.
    """
    visible, stride, masks = ~hidden.permute(0, 2, 3, 1), 1, []
    for wanted in strides:
        while stride < wanted:
            visible, stride = visible_at_half_size(visible), 2 * stride
        masks.append(~visible)
    return masks
