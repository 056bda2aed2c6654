"""From masked maps to predictions: mask tokens before the neck, linear layers behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.pretraining.generator import TargetGenerator
from backbones.pretraining.students import Level
from spectral_ops.modes import evaluating
from spectral_ops.scalars import as_int

__all__ = ["PretrainingHead", "levels_of_neck", "resized"]


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """A map ``(B, C, H, W)`` of another size: means of cells where it shrinks, bilinear where it grows.

    Example:
        >>> resized(torch.arange(4.0).reshape(1, 1, 1, 4), (1, 2))
        tensor([[[[0.5000, 2.5000]]]])
    """
    smaller = [min(n, wanted) for n, wanted in zip(x.shape[2:], size, strict=True)]
    cells = [n // wanted for n, wanted in zip(x.shape[2:], smaller, strict=True)]
    whole = [n * wanted for n, wanted in zip(cells, smaller, strict=True)] == list(x.shape[2:])
    # The same means, whose gradients a GPU computes in one order.
    shrunk = F.avg_pool2d(x, cells) if whole else F.adaptive_avg_pool2d(x, smaller)
    if tuple(shrunk.shape[2:]) == tuple(size):
        return shrunk
    return F.interpolate(shrunk, size=tuple(size), mode="bilinear", align_corners=False)


def levels_of_neck(neck: nn.Module | None, levels: Sequence[Level]) -> list[Level]:
    """The maps that a neck makes of a backbone's, found by trying it on zeros. Without one they are the same.

    Only those are listed whose stride is one of the backbone's: extra pooled levels have nothing to say.

    Raises:
        TypeError: It does not return a sequence of maps ``(B, C, H, W)``.
        ValueError: It has batch norms, whose statistics masks would spoil, or none of its maps has a stride of ours.
    """
    if neck is None:
        return [Level(i, level.channels, level.stride) for i, level in enumerate(levels)]
    norms = [name for name, m in neck.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if norms:
        raise ValueError(
            f"the neck has batch norms ({norms[0]}, ...), whose statistics would be those of masked images: "
            f"pre-train a neck without norms or with group norms"
        )
    side = 4 * max(level.stride for level in levels)
    like = next(iter(neck.parameters()), torch.zeros(()))
    maps = [like.new_zeros(1, level.channels, *[side // level.stride] * 2) for level in levels]
    with torch.no_grad(), evaluating(neck):
        outputs = neck(maps)
    fits = isinstance(outputs, Sequence) and all(isinstance(x, Tensor) and x.ndim == 4 for x in outputs)
    if not fits:
        raise TypeError(
            f"neck must return a sequence of maps (B, C, H, W), {type(neck).__name__} returned {outputs!r:.80}"
        )
    strides = {level.stride for level in levels}
    found = [Level(i, x.shape[1], side // x.shape[-1]) for i, x in enumerate(outputs)]
    found = [level for level in found if level.stride in strides]
    if not found:
        raise ValueError(
            f"none of the neck's maps {[tuple(x.shape) for x in outputs]} has a stride of {sorted(strides)}"
        )
    return found


class PretrainingHead(nn.Module):
    r"""What stands around the neck in pre-training, and is thrown away afterwards but for the norms.

    Before it, each level passes a LayerNorm, which becomes the norm of the backbone's dense outputs, and its hidden
    cells become the level's mask token. Behind it, a 1x1 convolution for each level predicts features, and one linear
    layer on the sum of the levels, resized to the stride of the target's units, predicts what belongs to units.

    Args:
        decoder_depth: ConvNeXt blocks between the sum and the linear layers.
        decoder_dim: Their width, and that of the sum; by default the neck's. Where the neck's maps are not of one
            width, or there is no neck, each level gets a 1x1 convolution to it, and it must be given.

    Raises:
        ValueError: An argument does not fit.
    """

    def __init__(self, decoder_depth: int = 0, decoder_dim: int | None = None) -> None:
        super().__init__()
        given = f"got {decoder_depth!r} and {decoder_dim!r}"
        self.decoder_depth, self.decoder_dim = (
            as_int(decoder_depth),
            None if decoder_dim is None else as_int(decoder_dim),
        )
        if self.decoder_depth is None or self.decoder_depth < 0 or (decoder_dim is not None and not self.decoder_dim):
            raise ValueError(
                f"decoder_depth must be an int of at least 0 and decoder_dim a positive int or None, {given}"
            )

    def prepare(
        self,
        levels: Sequence[Level],
        outputs: Sequence[Level],
        targets: TargetGenerator,
        in_chans: int,
        norms: Mapping[str, nn.Module] | nn.ModuleDict | None = None,
    ) -> None:
        """Make the layers.

        Args:
            levels: Of the backbone.
            outputs: Of the neck.
            targets: What is to be predicted.
            in_chans: Channels of the images.
            norms: Those of the backbone's own dense outputs, by the index of the stage, if it has such: they are used,
                and belong to it.

        Raises:
            ValueError: The widths of the maps differ and there is no ``decoder_dim``, or features are to be predicted
                of a stride that the neck does not have.
        """
        self.levels, self.outputs = list(levels), list(outputs)
        self._norms = [norms or {}]  # in a list: no parts of this module
        made = {} if norms else {str(level.index): nn.LayerNorm(level.channels, eps=1e-5) for level in levels}
        self.norms = nn.ModuleDict(made)
        self.tokens = nn.ParameterDict({str(level.index): torch.empty(level.channels) for level in levels})
        for token in self.tokens.values():
            nn.init.trunc_normal_(token, std=0.02)
        self.align, self.decoder = nn.ModuleDict(), nn.Sequential()
        self.units, self.features = nn.ModuleDict(), nn.ModuleDict()
        if targets.units:
            widths = {level.channels for level in outputs}
            if self.decoder_dim is None and len(widths) > 1:
                raise ValueError(f"decoder_dim must be given where the levels have widths {sorted(widths)}")
            width = self.decoder_dim or widths.pop()
            if {level.channels for level in outputs} != {width}:
                self.align.update({str(level.index): nn.Conv2d(level.channels, width, 1) for level in outputs})
            self.decoder.extend(ConvNeXtBlock(width, width) for _ in range(self.decoder_depth))
            self.units.update(
                {name: nn.Linear(width, target.channels(in_chans)) for name, target in targets.units.items()}
            )
        self.strides = {name: target.unit for name, target in targets.units.items()}
        if targets.features is not None:
            by_stride = {level.stride: level for level in outputs}
            strides = [level.stride for level in targets.features.levels]
            if len(set(strides)) < len(strides):
                raise ValueError(
                    f"features are predicted of levels of different strides, and the backbone's have {strides}: let it "
                    "give one map of each stride, or predict pixels, dct or hog"
                )
            self._feature_outputs = []
            for level, channels in zip(targets.features.levels, targets.features.channels, strict=True):
                if level.stride not in by_stride:
                    raise ValueError(
                        f"features of stride {level.stride} cannot be predicted: the neck's maps have strides "
                        f"{sorted(by_stride)}; give features strides="
                    )
                found = by_stride[level.stride]
                self._feature_outputs.append(found.index)
                self.features[str(level.stride)] = nn.Conv2d(found.channels, channels, 1)

    def dense(self, maps: Sequence[Tensor], hidden: Sequence[Tensor | None]) -> list[Tensor]:
        """The maps that the neck meets: normed, with tokens in hidden cells, channels-first and contiguous.

        Args:
            maps: ``(B, H, W, C)`` of each level.
            hidden: Bool, ``(B, H, W, 1)`` of each, or None.
        """
        norms = self._norms[0] or dict(self.norms.items())
        found = []
        for level, x, cells in zip(self.levels, maps, hidden, strict=True):
            x = norms[str(level.index)](x)
            if cells is not None:
                x = torch.where(cells, self.tokens[str(level.index)].to(x.dtype), x)
            found.append(x.permute(0, 3, 1, 2).contiguous())
        return found

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor | list[Tensor]]:
        """Predictions by name, channels-last as the targets are.

        Args:
            maps: What the neck returned.
            size: ``(H, W)`` of the images.
        """
        found: dict[str, Tensor | list[Tensor]] = {}
        sums: dict[int, Tensor] = {}
        for name, linear in self.units.items():
            stride = self.strides[name]
            if stride not in sums:
                sums[stride] = self._sum(maps, [n // stride for n in size])
            found[name] = linear(sums[stride])
        if self.features:
            heads = zip(self._feature_outputs, self.features.values(), strict=True)
            found["features"] = [head(maps[i]).permute(0, 2, 3, 1) for i, head in heads]
        return found

    def _sum(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """The decoded sum of the levels, channels-last."""
        parts = []
        for level in self.outputs:
            x = maps[level.index]
            x = self.align[str(level.index)](x) if self.align else x
            parts.append(resized(x, size))
        return self.decoder(torch.stack(parts).sum(0)).permute(0, 2, 3, 1)
