"""From tensors to the HiViT they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from backbones.hivit import HIVIT_ARCHS, ITPN, HiViT
from backbones.hivit.layers import PATCH, UNIT
from backbones.weights.hivit_names import HIVIT

__all__ = ["describe_hivit", "hivit_like", "is_hivit"]

#: Channels of each head in all published networks.
_HEAD = 64


class _Outline(NamedTuple):
    """What names and shapes tell; ``pyramid`` is its width and depth, ``bias_heads`` None without biases."""

    embed_dim: int
    depths: tuple[int, ...]
    fast: bool
    bias_heads: int | None
    pyramid: tuple[int, int] | None


def is_hivit(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict under this project's names is of a HiViT."""
    return HIVIT.recognises_ours(state)


def _outline(state: Mapping[str, Tensor]) -> _Outline:
    depths, levels = {}, 0
    for name in state:
        if match := re.match(r"stages\.([012])\.blocks\.(\d{1,3})\.", name):
            stage, block = int(match[1]), int(match[2])
            depths[stage] = max(depths.get(stage, 0), block + 1)
        elif match := re.match(r"pyramid\.blocks\.0\.(\d{1,3})\.", name):
            levels = max(levels, int(match[1]) + 1)
    widths = [tensor.shape[0] * 2 ** (2 - i) for i in (1, 2) if (tensor := _reduction(state, i)) is not None]
    top, bias = state.get("pyramid.top.weight"), state.get("stages.2.blocks.0.bias.table")
    return _Outline(
        widths[0] if widths else 0,
        tuple(depths[i] for i in sorted(depths)),
        any(name.endswith("merge.reduction.bias") for name in state),
        None if bias is None or bias.ndim != 2 else bias.shape[1],
        None if top is None or top.ndim != 2 else (top.shape[0], levels),
    )


def _reduction(state: Mapping[str, Tensor], stage: int) -> Tensor | None:
    tensor = state.get(f"stages.{stage}.merge.reduction.weight")
    return tensor if tensor is not None and tensor.ndim == 2 else None


def describe_hivit(state: Mapping[str, Tensor]) -> str:
    """Which HiViT it is: ``"a hivit_base with biases by relative position"``."""
    found = _outline(state)
    name = f"a {'Fast-iTPN' if found.fast else 'HiViT'} of width {found.embed_dim} and depths {found.depths}"
    for arch, spec in HIVIT_ARCHS.items():
        same = (found.embed_dim, found.depths) == (spec["embed_dim"], spec["depths"])
        if same and found.fast == (spec.get("form") == "fast"):
            name = f"a {arch}"
    extras = ["biases by relative position"] if found.bias_heads else []
    if found.pyramid:
        extras.append("a pyramid of width {} and depth {}".format(*found.pyramid))
    return name + (f" with {' and '.join(extras)}" if extras else "")


def hivit_like(state: Mapping[str, Tensor], num_heads: int | None = None) -> HiViT:
    """A fresh HiViT, or ITPN where there is a pyramid, of the sizes of a state dict, ready to load it.

    How many heads there are is told by biases only; else it has to be given, but for the published widths, whose heads
    have 64 channels each.

    Raises:
        ValueError: It lacks what the sizes are read from, or the number of heads cannot be told.
    """
    found = _outline(state)
    stem, positions = state.get("stem.conv.weight"), state.get("stages.2.positions.weight")
    if stem is None or positions is None or len(found.depths) != 3 or not found.embed_dim:
        raise ValueError("these tensors are not those of a whole HiViT: stem, blocks, merges or positions are missing")
    if stem.ndim != 4 or stem.shape[2] != PATCH or positions.ndim != 3:
        raise ValueError(f"stem {tuple(stem.shape)} and positions {tuple(positions.shape)} are not those of a HiViT")
    heads = found.bias_heads or num_heads
    if heads is None and found.embed_dim in {spec["embed_dim"] for spec in HIVIT_ARCHS.values()}:
        heads = found.embed_dim // _HEAD
    if heads is None:
        raise ValueError(
            f"these tensors do not tell the number of heads, and no published network is {found.embed_dim} wide: give "
            f"num_heads="
        )
    options = {
        "embed_dim": found.embed_dim,
        "depths": found.depths,
        "num_heads": heads,
        "form": "fast" if found.fast else "hivit",
        "relative_bias": found.bias_heads is not None,
        "img_size": (UNIT * positions.shape[0], UNIT * positions.shape[1]),
        "in_chans": stem.shape[1],
    }
    if found.pyramid:
        return ITPN(**options, pyramid_dim=found.pyramid[0], pyramid_depth=found.pyramid[1])
    classifier = state.get("head.fc.weight")
    return HiViT(**options, num_classes=0 if classifier is None else len(classifier))
