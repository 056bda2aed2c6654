"""The names in official vHeat files."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from backbones.blocks import SpectralBlock
from backbones.weights.names import Layout, NameTable, Rule, affine

__all__ = ["VHEAT"]


def _flatten(t: Tensor) -> tuple[Tensor, ...]:
    if t.ndim not in (2, 4):
        raise ValueError("it must have two dimensions, or four as a 1x1 convolution")
    return (t.flatten(1),)


def _halves(t: Tensor) -> tuple[Tensor, ...]:
    if t.ndim == 0 or t.shape[0] % 2:
        raise ValueError("its first dimension must be even: value, then gate")
    return tuple(half.clone() for half in t.chunk(2))


#: A 1x1 convolution there, a linear layer here.
_POINTWISE = Layout(_flatten, lambda t: t[:, :, None, None])
#: One linear layer there, two here.
_HALVES = Layout(_halves, lambda *halves: torch.cat(halves))

_THEIR_BLOCK, _OUR_BLOCK = "layers.{i}.{j}", "stages.{i}.blocks.{j}"
_THEIR_OP, _OUR_MIXER = f"{_THEIR_BLOCK}.op", f"{_OUR_BLOCK}.mixer"

_RULES: list[Rule] = [
    *affine("patch_embed.conv1", "stem.conv1"),
    *affine("patch_embed.norm1.1", "stem.norm1"),
    *affine("patch_embed.conv2", "stem.conv2"),
    *affine("patch_embed.norm2.1", "stem.norm2"),
    Rule("freq_embed.{i}", ("stages.{i}.embedding.weight",), "train"),
    *affine(f"{_THEIR_BLOCK}.norm1", f"{_OUR_BLOCK}.norm1"),
    *affine(f"{_THEIR_BLOCK}.norm2", f"{_OUR_BLOCK}.norm2"),
    *affine(f"{_THEIR_OP}.dwconv", f"{_OUR_MIXER}.dwconv"),
    *affine(f"{_THEIR_OP}.linear", f"{_OUR_MIXER}.value", f"{_OUR_MIXER}.gate", weight=_HALVES, bias=_HALVES),
    *affine(f"{_THEIR_OP}.out_norm", f"{_OUR_MIXER}.norm"),
    *affine(f"{_THEIR_OP}.out_linear", f"{_OUR_MIXER}.proj"),
    *affine(f"{_THEIR_OP}.to_k.0", f"{_OUR_MIXER}.operator.diffusivity.linear", form="train"),
    Rule(f"{_THEIR_OP}.k_exp", (f"{_OUR_MIXER}.operator.gain_{{size}}",), "precomputed"),
    *affine(f"{_THEIR_BLOCK}.mlp.fc1", f"{_OUR_BLOCK}.mlp.fc1", weight=_POINTWISE),
    *affine(f"{_THEIR_BLOCK}.mlp.fc2", f"{_OUR_BLOCK}.mlp.fc2", weight=_POINTWISE),
    Rule(f"{_THEIR_BLOCK}.gamma1", (f"{_OUR_BLOCK}.scale1.gamma",), "post-norm"),
    Rule(f"{_THEIR_BLOCK}.gamma2", (f"{_OUR_BLOCK}.scale2.gamma",), "post-norm"),
    Rule("layers.{i}.{d}.0.weight", ("stages.{n}.downsample.conv.weight",)),
    *affine("layers.{i}.{d}.1", "stages.{n}.downsample.norm"),
    *affine("outnorm{i}", "out_norms.{i}", form="dense"),
    *affine("classifier.0", "norm", form="classifier"),
    *affine("classifier.3", "head.fc", form="classifier"),
]


def _misfit(model: nn.Module, state: Mapping[str, Tensor]) -> str:
    # A pre-norm network of this project may have layer scales, of the same names.
    scaled = any(name.endswith(".scale1.gamma") for name in state)
    if scaled and any(isinstance(module, SpectralBlock) and module.pre_norm for module in model.modules()):
        return "an official file with gamma1 is post-norm, the model is pre-norm"
    return ""


VHEAT = NameTable(
    _RULES,
    {".op.to_time.": ".op.to_k."},
    marks=[f"{_THEIR_OP}.linear.weight"],
    instead={"precomputed": "train", "dense": "classifier"},
    stages=4,
    misfit=_misfit,
)
