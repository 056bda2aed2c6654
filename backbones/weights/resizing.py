"""Tensors that belong to a grid, carried over to the grid of a model's."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from backbones.hivit.positions import PositionTable, RelativeBias, resize_table
from backbones.remote_sensing import BilinearMap
from backbones.remote_sensing.guidance import resize_bilinear
from spectral_ops import SpectralEmbedding, resize_embedding

__all__ = ["Resized", "resizable", "resized_like"]


class Resized(NamedTuple):
    """A tensor at the model's size, and the sizes of the grid before and after."""

    values: Tensor
    sizes: tuple[tuple[int, ...], tuple[int, ...]]


def resizable(model: nn.Module) -> dict[str, nn.Module]:
    """The names of a model's tensors that can be resized, and the modules they are of."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if isinstance(module, (SpectralEmbedding, BilinearMap, PositionTable)):
            found[f"{name}.weight"] = module
        elif isinstance(module, RelativeBias):
            found[f"{name}.table"] = module
    return found


def resized_like(old: Tensor, new: Tensor, place: nn.Module, rule: str) -> Resized | None:
    """A tensor of a file at the size of the model's; None where it has it, or is no such tensor.

    Args:
        old, new: Of the file, and of the model.
        place: The module of the model.
        rule: ``"bicubic"``, ``"pad"``, or ``"own"`` for the rule of the module.

    Raises:
        ValueError: Positions or biases are to be padded.
    """
    if old.ndim != new.ndim or not old.is_floating_point() or old.shape[-1] != new.shape[-1] or old.shape == new.shape:
        return None
    values = old.to(torch.promote_types(old.dtype, torch.float32))
    if isinstance(place, SpectralEmbedding):
        values = resize_embedding(values, new.shape[:2], place.rule if rule == "own" else rule)
        return Resized(values, (tuple(old.shape[:2]), tuple(new.shape[:2])))
    if rule == "pad":
        raise ValueError(
            "resize='pad' is for spectral embeddings; positions and biases are resized bicubically, maps of cells and "
            "the embeddings beside them bilinearly"
        )
    if isinstance(place, BilinearMap):
        return Resized(resize_bilinear(values, new.shape[:2]), (tuple(old.shape[:2]), tuple(new.shape[:2])))
    if isinstance(place, PositionTable):
        values = resize_table(values, new.shape[:2], extra=0.1)
        return Resized(values, (tuple(old.shape[:2]), tuple(new.shape[:2])))
    side = math.isqrt(len(old))
    if side**2 != len(old):
        return None
    sizes = 2 * place.sizes[0] - 1, 2 * place.sizes[1] - 1
    return Resized(resize_table(values.unflatten(0, (side, side)), sizes).flatten(0, 1), ((side, side), sizes))
