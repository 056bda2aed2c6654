"""The names in official files of HiViT, iTPN and Fast-iTPN.

Classification, pre-training and detection files name their tensors alike: a backbone, and a classifier, or a pyramid
and a decoder beside it. Blocks and merges are counted in one list, so how deep the stages are is read off a file first.
What ours are called: ``stem``, ``stages`` and ``head`` of :class:`~backbones.hivit.HiViT`, ``pyramid`` of
:class:`~backbones.hivit.Pyramid`, ``decoder`` of pixel pre-training.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from backbones.weights.messages import first_names
from backbones.weights.names import Conversion, Layout, NameTable, Rule, affine

__all__ = ["HIVIT", "HiViTNames"]

_INDEX = "relative_position_index"


def _square(t: Tensor) -> tuple[Tensor, ...]:
    if t.ndim != 3 or t.shape[0] != 1 or math.isqrt(t.shape[1]) ** 2 != t.shape[1]:
        raise ValueError("it must be (1, side * side, channels)")
    return (rearrange(t, "1 (h w) c -> h w c", h=math.isqrt(t.shape[1])),)


def _as_linear(t: Tensor) -> tuple[Tensor, ...]:
    if t.ndim != 4:
        raise ValueError("it must be the weight of a convolution, with four dimensions")
    return (t.flatten(1),)


#: One vector for each unit there, a grid of them here.
_GRID = Layout(_square, lambda t: rearrange(t, "h w c -> 1 (h w) c"))
#: A 2 x 2 convolution there, here the linear layer that it is on a unit.
_CONVOLUTION = Layout(_as_linear, lambda t: t.unflatten(1, (-1, 2, 2)))


class _Shape(NamedTuple):
    """What the rules of a file depend on.

    Attributes:
        depths: Blocks of the three stages.
        fast: Whether it is Fast-iTPN's network.
        pyramid: Blocks of each level of the pyramid below the top; None without a pyramid.
        decoder: Blocks of the decoder; 0 without a decoder.
    """

    depths: tuple[int, int, int]
    fast: bool
    pyramid: int | None
    decoder: int


def _rules(shape: _Shape) -> Iterator[Rule]:
    """Every tensor of a file, by its official name; forms: classifier, relative, pyramid, decoder."""
    fast = shape.fast
    yield Rule("absolute_pos_embed", ("stages.2.positions.weight",), layout=_GRID)
    yield from affine("patch_embed.proj", "stem.conv")
    if not fast:
        yield from affine("patch_embed.norm", "stem.norm")
    n = 0
    for stage, depth in enumerate(shape.depths):
        if stage:
            yield from affine(f"blocks.{n}.norm", f"stages.{stage}.merge.norm")
            theirs, ours = f"blocks.{n}.reduction", f"stages.{stage}.merge.reduction"
            if fast:
                yield from affine(theirs, ours, weight=_CONVOLUTION)
            else:
                yield Rule(f"{theirs}.weight", (f"{ours}.weight",))
            n += 1
        for j in range(depth):
            theirs, ours = f"blocks.{n}", f"stages.{stage}.blocks.{j}"
            yield from _attentive(theirs, ours, fast) if stage == 2 else _plain(theirs, ours, sub_norm=fast)
            n += 1
    yield from affine("fc_norm", "head.norm", form="classifier")
    yield from affine("head", "head.fc", form="classifier")
    if shape.pyramid is not None:
        yield from _pyramid(shape.pyramid)
    if shape.decoder:
        yield from _decoder(shape.decoder)


def _mlp(theirs: str, ours: str, form: str = "any") -> Iterator[Rule]:
    yield from affine(f"{theirs}.mlp.fc1", f"{ours}.mlp.fc1", form=form)
    yield from affine(f"{theirs}.mlp.fc2", f"{ours}.mlp.fc2", form=form)


def _plain(theirs: str, ours: str, form: str = "any", sub_norm: bool = False) -> Iterator[Rule]:
    yield from affine(f"{theirs}.norm2", f"{ours}.norm", form=form)
    yield from _mlp(theirs, ours, form)
    if sub_norm:
        yield from affine(f"{theirs}.mlp.ffn_ln", f"{ours}.mlp.norm", form=form)


def _attentive(theirs: str, ours: str, eva: bool = False, form: str = "any") -> Iterator[Rule]:
    for name in ("norm1", "norm2", "attn.proj"):
        yield from affine(f"{theirs}.{name}", f"{ours}.{name}", form=form)
    if not eva:
        yield from affine(f"{theirs}.attn.qkv", f"{ours}.attn.qkv", form=form)
        yield from _mlp(theirs, ours, form)
        bias = f"{theirs}.attn.relative_position_bias_table"
        yield Rule(bias, (f"{ours}.bias.table",), "relative" if form == "any" else form)
        return
    for name in ("q", "k", "v"):
        yield Rule(f"{theirs}.attn.{name}_proj.weight", (f"{ours}.attn.{name}.weight",), form)
    for name in ("q", "v"):
        yield Rule(f"{theirs}.attn.{name}_bias", (f"{ours}.attn.{name}.bias",), form)
    for name, own in (("w1", "fc1_g"), ("w2", "fc1_x"), ("w3", "fc2"), ("ffn_ln", "norm")):
        yield from affine(f"{theirs}.mlp.{name}", f"{ours}.mlp.{own}", form=form)
    for i in (1, 2):
        yield Rule(f"{theirs}.gamma_{i}", (f"{ours}.scale{i}.gamma",), form)


def _pyramid(depth: int) -> Iterator[Rule]:
    form = "pyramid"
    yield from affine("align_dim_16tofpn", "pyramid.top", form=form)
    for i, step in enumerate(("16to8", "8to4")):
        yield Rule(f"align_dim_{step}.weight", (f"pyramid.laterals.{i}.weight",), form)
        yield from affine(f"split_{step}.norm", f"pyramid.splits.{i}.norm", form=form)
        yield Rule(f"split_{step}.reduction.weight", (f"pyramid.splits.{i}.reduction.weight",), form)
        for k in range(depth):
            yield from _plain(f"block_{step}.{k}", f"pyramid.blocks.{i}.{k}", form)
    for level in range(3):  # strides 16, 8, 4 there, 4, 8, 16 here
        yield from _plain(f"fpn_modules.{level}", f"pyramid.outs.{2 - level}", form)


def _decoder(depth: int) -> Iterator[Rule]:
    form = "decoder"
    yield Rule("mask_token", ("decoder.mask_token",), form)
    yield Rule("decoder_pos_embed", ("decoder.positions",), form)
    for level in range(3):
        for i, name in enumerate(("norm", "linear")):
            yield from affine(f"decoder_embed.{level}.{i}", f"decoder.embeds.{2 - level}.{name}", form=form)
    for k in range(depth):
        rules = _attentive(f"decoder_blocks.{k}", f"decoder.blocks.{k}", form=form)
        yield from (rule for rule in rules if "relative_position" not in rule.official)
    yield from affine("decoder_norm", "decoder.norm", form=form)
    yield from affine("decoder_pred", "decoder.pred", form=form)


#: Why tensors of a file that no network of this project has are not loaded, by what their names match.
_REASONS = {
    r"(.*\.)?relative_position_index": "it follows from the grid and is computed",
    r"(.*\.)?(freqs_cos|freqs_sin)": "angles of rotary positions, which this network does not have",
    r"(mask_token|lm_head.*|decoder.*)": "a part of another pre-training than that in pixels",
}


class HiViTNames(NameTable):
    """Official names of HiViT and its relatives, and ours; see :class:`~backbones.weights.names.NameTable`.

    Of Fast-iTPN no list of names was at hand: those of EVA-02 are taken for its last stage, whose form it has, and
    ``mlp.ffn_ln`` for the norms on hidden layers. A file with others is refused with their names.
    """

    def __init__(self) -> None:
        marks = [Rule("blocks.{j}.reduction.weight", ("stages.{i}.merge.reduction.weight",))]
        super().__init__(marks, reasons=_REASONS)

    def to_ours(self, state: Mapping[str, Tensor]) -> Conversion:
        """See :meth:`~backbones.weights.names.NameTable.to_ours`.

        Raises:
            ValueError: As there, or its blocks are not those of three stages.
        """
        return NameTable(list(_rules(_their_shape(state))), reasons=_REASONS).to_ours(state)

    def to_official(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :meth:`~backbones.weights.names.NameTable.to_official`; the index of relative positions is added."""
        official = NameTable(list(_rules(_our_shape(state)))).to_official(state)
        tables = [t for name, t in official.items() if name.endswith("relative_position_bias_table")]
        if tables:
            official[_INDEX] = _position_index((math.isqrt(len(tables[0])) + 1) // 2)
        return official


def _numbers(names: Iterable[str], pattern: str) -> list[int]:
    """The different numbers that stand in names where the pattern has its group."""
    return sorted({int(match[1]) for name in names if (match := re.match(pattern, name))})


def _count(names: Iterable[str], pattern: str) -> int:
    return max(_numbers(names, pattern), default=-1) + 1


def _their_shape(names: Iterable[str]) -> _Shape:
    names = list(names)
    merges, count = _numbers(names, r"blocks\.(\d{1,3})\.reduction\."), _count(names, r"blocks\.(\d{1,3})\.")
    depths = tuple(b - a - 1 for a, b in zip([-1, *merges], [*merges, count], strict=True))
    if len(depths) != 3 or min(depths) < 1:
        raise ValueError(
            f"an official HiViT has blocks, a merge, blocks, a merge and blocks: this file has merges at {merges} "
            f"of {count} entries of 'blocks' ({first_names(n for n in names if n.startswith('blocks.'))})"
        )
    fast = any(re.fullmatch(r"blocks\.\d+\.(attn\.q_(proj\.weight|bias)|reduction\.bias)", name) for name in names)
    split = any(name.startswith(("align_dim_", "split_")) for name in names)
    pyramid = _count(names, r"block_(?:16to8|8to4)\.(\d{1,3})\.") if split else None
    return _Shape(depths, fast, pyramid, _count(names, r"decoder_blocks\.(\d{1,3})\."))


def _our_shape(names: Iterable[str]) -> _Shape:
    names = list(names)
    depths = tuple(max(1, _count(names, rf"stages\.{i}\.blocks\.(\d{{1,3}})\.")) for i in range(3))
    fast = any(name.endswith("merge.reduction.bias") for name in names)
    split = any(name.startswith("pyramid.") for name in names)
    pyramid = _count(names, r"pyramid\.blocks\.\d\.(\d{1,3})\.") if split else None
    return _Shape(depths, fast, pyramid, _count(names, r"decoder\.blocks\.(\d{1,3})\."))


def _position_index(side: int) -> Tensor:
    """Which row of a table each pair of places shares, ``(side ** 2, side ** 2)``."""
    place = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    offset = place[:, None] - place[None] + side - 1
    return offset[..., 0] * (2 * side - 1) + offset[..., 1]


HIVIT = HiViTNames()
