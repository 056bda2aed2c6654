"""The family as a space: an operator for each stage, width, depth and the width of MLPs, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import backbones  # noqa: F401 (registers its networks with timm)
from backbones.search import Choice, Ordinal
from backbones.search.parameters import Parameter

OPERATORS = ("heat", "wave", "tail_static", "poisson", "mix")
#: What is chosen of a network: ``operator_1``, ``operator_2`` and ``operator_3`` of the first three stages, the width
#: of the first one, the depth of the third one, and the hidden width of MLPs over the width.
CHOICES: dict[str, Parameter] = {
    **{f"operator_{stage}": Choice(OPERATORS) for stage in (1, 2, 3)},
    "width": Ordinal([8, 16, 24, 32]),
    "depth": Ordinal([1, 2, 3]),
    "mlp_ratio": Ordinal([2.0, 4.0]),
}


def model_options(nas: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``vheat_nano`` for what was chosen. The last stage, of few cells, mixes as the third does."""
    width, operators = nas["width"], [nas[f"operator_{stage}"] for stage in (1, 2, 3)]
    return {
        "operator": [*operators, operators[-1]],
        "dims": [width, 2 * width, 4 * width, 8 * width],
        "depths": [1, 1, nas["depth"], 1],
        "mlp_ratio": nas["mlp_ratio"],
    }


def backbone(nas: Mapping[str, Any], size: int, drop_path: float) -> dict[str, Any]:
    """The same network as a backbone of OpenMMLab."""
    options = model_options(nas)
    operator = options.pop("operator")
    arch = {**options, "init_std": None}
    return {"type": "VHeat", "arch": arch, "operator": operator, "img_size": size, "drop_path_rate": drop_path}


@lru_cache
def _parts(operator: str, width: int, size: int) -> np.ndarray:
    """Multiply-accumulates of blocks without MLPs, of MLPs as wide as their input, each by stage, and of all else.

    They are of the first and the second degree in the width, so two counts serve all.
    """
    if width not in (8, 16):
        once, twice = _parts(operator, 8, size), _parts(operator, 16, size)
        times = width // 8
        return times * (4 * once - twice) // 2 + times**2 * (twice - 2 * once) // 2
    options = {"operator": operator, "dims": [width << stage for stage in range(4)], "depths": [1] * 4}
    net = timm.create_model("vheat_nano", **options, mlp_ratio=1.0, num_classes=0, img_size=size, device="meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, size, size, device="meta"))
    counts = {name.partition(".")[2]: sum(of.values()) // 2 for name, of in counter.get_flop_counts().items()}
    mlps = [counts[f"stages.{stage}.blocks.0.mlp"] for stage in range(4)]
    mixers = [counts[f"stages.{stage}.blocks.0"] - mlp for stage, mlp in enumerate(mlps)]
    return np.array([*mixers, *mlps, counter.get_total_flops() // 2 - sum(mixers) - sum(mlps)])


def macs(nas: Mapping[str, Any], size: int, classes: int = 0) -> int:
    """Multiply-accumulates for an image: a sum over blocks, linear in the width of their MLPs.

    Args:
        nas: What was chosen; its width is a multiple of 8.
        size: Of the image, in pixels.
        classes: Of the classifier; 0 for none.
    """
    options = model_options(nas)
    total = options["dims"][-1] * classes
    for stage, (operator, depth) in enumerate(zip(options["operator"], options["depths"], strict=True)):
        parts = _parts(operator, nas["width"], size)
        total += depth * (int(parts[stage]) + round(nas["mlp_ratio"] * int(parts[4 + stage])))
    return total + int(parts[-1])
