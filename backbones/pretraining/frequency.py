"""Pre-training of RS-vHeat in the cosine domain, on images of several sensors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backbones.pretraining.course import Course
from backbones.pretraining.frequency_heads import ImageHead, ViewFusion
from backbones.pretraining.frequency_losses import (
    Contrast,
    ContrastHead,
    retrieved,
    scored_error,
    spectral_weight,
    spread_within,
)
from backbones.pretraining.frequency_pictures import FrequencyPictures
from backbones.pretraining.hiding import FrequencyHiding, Views
from backbones.pretraining.students import Level, hidden_cells, levels_of
from backbones.pretraining.teacher import TeacherCollapse
from backbones.remote_sensing import ModalitySpec, network
from backbones.remote_sensing.frequency import squared_radius
from spectral_ops import dctn, idctn
from spectral_ops.apply import no_autocast
from spectral_ops.scalars import as_float

__all__ = ["LOSSES", "FrequencyPretraining"]

LOSSES = ("contrast", "spatial", "spectral")
#: Strides of the maps that images are reconstructed from.
_STRIDES = (16, 32)
#: How slowly the spread of features that is logged and watched follows that of a batch.
_INERTIA = 0.9
#: From which share of the updates on.
_WATCHED = 0.3


class FrequencyPretraining(FrequencyPictures, Course, nn.Module):
    r"""Predicts the hidden frequencies of images, and brings the modalities of a place together, after RS-vHeat.

    .. math::  L = w_1 L_{Con} + w_2 L_{Spa} + w_3 L_{Fre}

    Images are normalised by the specs of their modalities and split by the cosine transform; the views pass the network
    as one batch, whatever their band and modality. Their maps of the last two stages are fused and give the image back
    (:class:`ImageHead`), of which the hidden modes are scored in pixels and in the spectrum
    (:func:`scored_error`). The pooled map of the last stage is compared between the modalities of one place, band by
    band (:class:`ContrastHead`). Afterwards :func:`~backbones.pretraining.publish` writes the network alone.

    Args:
        backbone: A :class:`backbones.remote_sensing.RSVHeat`, which has the specs. One for dense outputs brings the
            norms of the last two stages along.
        hiding: What is hidden; by default one band of each image, of a quarter nothing.
        contrast: A :class:`ContrastHead`'s kind, ``"infonce"`` or ``"cosine"``.
        temperature, stop_gradient: Of it.
        weights: Of the losses ``"contrast"``, ``"spatial"`` and ``"spectral"``; 0 leaves one out. Those that are not
            named have 1.
        lowpass: By modality, the radius :math:`\rho` above which nothing is scored: speckle cannot be predicted.
        slope, rho0: Of the weight of modes, see :func:`spectral_weight`.
        alarm: Share of the highest spread of features so far, below which they have collapsed; 0 for no alarm. It is
            watched where L_Con trains, which can collapse; after :meth:`schedule` from 30 % of the updates on: the
            spread of a network that is well falls at first, too.
        data_preprocessor: See :class:`~backbones.pretraining.MaskedPretraining`; images stay in their units.

    Attributes:
        steps, total_steps: See :class:`~backbones.pretraining.MaskedPretraining`.
        spread: Of the features, a moving average over batches.

    Shape:
        A dict of modalities to images ``(B, C, H, W)``, or one tensor with the channels of all. A modality of which a
        sample has no image is NaN there; such a sample has no part in L_Con.

    Raises:
        TypeError, ValueError: The parts do not fit each other.

    Example:
        >>> from backbones.remote_sensing import RSVHeat
        >>> model = FrequencyPretraining(RSVHeat("nano", img_size=64))
        >>> optical, sar = 255 * torch.rand(4, 3, 64, 64), 3 * torch.randn(4, 1, 64, 64) - 12
        >>> losses = model.losses({"optical": optical, "sar": sar})
        >>> list(losses)
        ['contrast', 'spatial', 'spectral']
        >>> sum(losses.values()).backward()
    """

    neck = None

    def __init__(
        self,
        backbone: network.RSVHeat,
        hiding: FrequencyHiding | None = None,
        *,
        contrast: Contrast = "infonce",
        temperature: float = 0.07,
        stop_gradient: bool = True,
        weights: Mapping[str, float] | None = None,
        lowpass: Mapping[str, float] | None = None,
        slope: float = 2.0,
        rho0: float = 0.02,
        alarm: float = 0.1,
        data_preprocessor: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, network.RSVHeat):
            raise TypeError(f"backbone must be an RSVHeat, got {type(backbone).__name__}")
        self.backbone = backbone
        self.modalities = backbone.modalities
        self.weights = _checked_weights(weights)
        self.lowpass = _checked_lowpass(lowpass, self.modalities)
        if power := [spec.name for spec in self.modalities if spec.unit == "power"]:
            raise ValueError(f"modality {power[0]!r} is in linear power, whose speckle multiplies: pre-train it in dB")
        for name, value in (("slope", slope), ("rho0", rho0)):
            if as_float(value) is None or not 0 <= value < float("inf") or (name == "rho0" and value == 0):
                raise ValueError(f"{name} must be a number of at least 0, and rho0 above it, got {value!r}")
        if as_float(alarm) is None or not 0 <= alarm < 1:
            raise ValueError(f"alarm must be in [0, 1), got {alarm!r}")
        self.slope, self.rho0, self.alarm = float(slope), float(rho0), float(alarm)
        self._make_course(FrequencyHiding() if hiding is None else hiding, data_preprocessor, backbone.in_chans)
        self.levels = _levels(backbone)
        # Those of fused maps, which have other channels where they are concatenated.
        own = getattr(backbone, "out_norms", None) if backbone.fusion == "mean" else None
        made = {} if own is not None else {str(level.index): nn.LayerNorm(level.channels) for level in self.levels}
        self.norms = nn.ModuleDict(made)
        self._own_norms = [own]  # in a list: no part of this module
        self.fusions = nn.ModuleList(ViewFusion(level.channels) for level in self.levels)
        self.heads = nn.ModuleDict({spec.name: ImageHead(self.levels, len(spec.bands)) for spec in self.modalities})
        self.contrast = ContrastHead(
            self.levels[-1].channels, contrast, temperature=temperature, stop_gradient=stop_gradient
        )
        self.token = None
        if self.mask.unit is not None:
            self.token = nn.Parameter(torch.empty(backbone.stem[self.modalities[0].name].conv2.out_channels))
            nn.init.trunc_normal_(self.token, std=0.02)
        self.register_buffer("spread", torch.zeros(()))
        self.register_buffer("highest_spread", torch.zeros(()))
        self.measures: dict[str, Tensor] = {}

    # -- what a training needs -------------------------------------------------------------------------------------

    def _teaching(self) -> tuple[None, nn.Module]:
        return None, self.backbone

    def _whole_maps(self, images: Tensor) -> Sequence[Tensor]:
        maps = self.backbone.forward_stages(images)
        found = [maps[level.index] for level in self.levels]
        if self.backbone.fusion == "mean":
            found = [self._norm(level)(each) for level, each in zip(self.levels, found, strict=True)]
        return [each.permute(0, 3, 1, 2).contiguous() for each in found]

    def after_update(self) -> None:
        """Say that the optimizer has made a step.

        Raises:
            TeacherCollapse: The features of all images have become alike.
        """
        super().after_update()
        watched = self.weights["contrast"] and _WATCHED * (self.total_steps or 0) <= int(self.steps)
        spread, best = float(self.spread), float(self.highest_spread)
        if self.alarm and watched and spread < self.alarm * best:
            raise TeacherCollapse(int(self.steps), spread, best, self.alarm, features=True)

    def forward(self, images: network.Images) -> Tensor:
        """The sum of the weighted losses."""
        return torch.stack(list(self.losses(images).values())).sum()

    def losses(self, images: network.Images, *, views: Views | None = None) -> dict[str, Tensor]:
        """The weighted losses by name; ``measures`` then has ``"retrieval"`` and ``"spread"``.

        Args:
            images: In the units of the modalities.
            views: What is hidden; drawn where it is None.

        Raises:
            ValueError: The images are not of the modalities; see :meth:`~backbones.remote_sensing.ModalitySpec.check`.
        """
        if isinstance(images, Mapping):
            images = self.packed(images)
        images = self._prepared(images)
        return self._losses(images, self._hidden_units(images, None, views))

    def packed(self, images: Mapping[str, Tensor]) -> Tensor:
        """Images by modality as one tensor, NaN where a modality is not given."""
        given = self.backbone.stem.unpacked(images)
        like = next(iter(given.values()))
        missing = {
            s.name: like.new_full((len(like), len(s.bands), *like.shape[2:]), torch.nan) for s in self.modalities
        }
        return torch.cat(list({**missing, **given}.values()), 1)

    def _images(self, images: Tensor) -> dict[str, Tensor]:
        return self.backbone.stem.unpacked(images)

    def _hidden_units(self, images: Tensor, keep: None, mask: Views | None) -> Views:  # type: ignore[override]
        self._images(images)
        views = self.mask(len(images), images.shape[2:]) if mask is None else mask
        if not isinstance(views, Views) or views.scored.shape != (len(images), *images.shape[2:]):
            given = tuple(views.scored.shape) if isinstance(views, Views) else type(views).__name__
            raise ValueError(f"views must be Views of {(len(images), *images.shape[2:])}, got {given}")
        return views.to(images.device)

    @torch.no_grad()
    def measured_whole(self, images: Tensor) -> dict[str, Tensor]:
        """``"retrieval"`` and ``"spread"`` of whole images, as the network sees them afterwards."""
        source = torch.Generator().manual_seed(0)  # nothing of the training's numbers is used up
        everything = FrequencyHiding(clean=1.0)(len(images), images.shape[2:], generator=source).to(images.device)
        there, _, maps, encoded = self._encoded(images, everything)
        return self._compared(self._features(maps[-1], encoded, there), there, everything)[1]

    def facts(self) -> dict[str, Any]:
        """What a published file says of the training."""
        return {
            "modalities": [spec.to_dict() for spec in self.modalities],
            "hiding": repr(self.mask),
            "contrast": self.contrast.kind,
            "weights": self.weights,
            "lowpass": self.lowpass or None,
        }

    # -- losses ----------------------------------------------------------------------------------------------------

    def _losses(self, images: Tensor, views: Views) -> dict[str, Tensor]:
        there, normalised, maps, encoded = self._encoded(images, views)
        features = self._features(maps[-1], encoded, there)
        found = {"contrast": self._contrasted(features, there, views)}
        if self.weights["spatial"] or self.weights["spectral"]:
            errors = []
            predicted = self._predicted(maps, encoded, images.shape[2:])
            for name, target in normalised.items():
                mine = views.of(there[name])
                scored = mine.scored & self._passed(name, images)
                pixels = mine.pixels if self.mask.score == "hidden" else None
                each = scored_error(predicted[name], target, scored, pixels, self._mode_weight(images))
                counts = scored.flatten(1).any(1)
                errors.append([loss.sum() / counts.sum().clamp(min=1) for loss in each])
            spatial, spectral = (torch.stack(each).mean() for each in zip(*errors, strict=True))
            found |= {"spatial": spatial, "spectral": spectral}
        return {name: self.weights[name] * found[name] for name in LOSSES if self.weights[name]}

    def _encoded(
        self, images: Tensor, views: Views
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], list[Tensor], dict[str, Tensor]]:
        """Which samples have each modality, their normalised images, the maps of all views, and which those are."""
        there, normalised, encoded, stems = {}, {}, {}, []
        for spec in self.modalities:
            each = self._images(images)[spec.name]
            has = ~each.isnan().flatten(1).all(1)
            if not has.any():
                continue
            there[spec.name] = has
            spec.check(each[has])
            normalised[spec.name] = x = spec.normalised(each[has].to(torch.promote_types(each.dtype, torch.float32)))
            mine = views.of(has)
            encoded[spec.name] = mine.encoded
            stems.append(self._stem_maps(spec.name, x, mine))
        if not stems:
            raise ValueError("images must have at least one image of a modality, all are NaN")
        maps = self.backbone.forward_maps(torch.cat(stems))
        return there, normalised, [maps[level.index] for level in self.levels], encoded

    def _stem_maps(self, name: str, x: Tensor, views: Views) -> Tensor:
        """The stem's maps of the encoded views of normalised images."""
        stem = self.backbone.stem[name]
        if views.pixels is not None:
            cells = hidden_cells(views.pixels, [4])[0]
            maps = stem.embedded(x, ~views.pixels)
            return torch.where(cells, self.token.to(maps.dtype), maps)
        with no_autocast(x.device.type):
            seen = idctn(dctn(x, dims=(-2, -1))[:, None] * views.kept[:, :, None].to(x.dtype), dims=(-2, -1))
        whole = views.whole[:, None, None, None, None] & views.encoded[:, :, None, None, None]
        seen = torch.where(whole, x[:, None], seen)  # without rounding
        return stem.embedded(seen[views.encoded])

    def _features(self, last: Tensor, encoded: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Pooled features of all views of all samples by modality, ``(B, 2, C)``, 0 where there is none."""
        pooled = self._norm(self.levels[-1])(last).mean((1, 2))
        parts = pooled.split([int(each.sum()) for each in encoded.values()])
        found = {}
        for (name, mine), part in zip(encoded.items(), parts, strict=True):
            every = part.new_zeros(len(there[name]), *mine.shape[1:], part.shape[1])
            places = torch.zeros(every.shape[:2], dtype=torch.bool, device=part.device)
            places[there[name]] = mine
            every[places] = part
            found[name] = every
        return found

    def _contrasted(self, features: Mapping[str, Tensor], there: Mapping[str, Tensor], views: Views) -> Tensor:
        """The loss of pairs; what is measured beside it is noted."""
        loss, self.measures = self._compared(features, there, views)
        spread = self.measures.get("spread")
        if self.training and spread is not None:
            self.spread.copy_(spread if self.spread == 0 else self.spread.lerp(spread.to(self.spread), 1 - _INERTIA))
            self.highest_spread.copy_(torch.maximum(self.highest_spread, self.spread))
        return loss

    def _compared(
        self, features: Mapping[str, Tensor], there: Mapping[str, Tensor], views: Views
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of pairs, and ``"retrieval"`` and ``"spread"`` where there is something to compare."""
        kinds = views.kinds()
        losses, retrievals, spreads = [], [], []
        for first, second in itertools.combinations(features, 2):
            both = (there[first] & there[second])[:, None] & views.encoded
            if both.any():
                a, b, kind = features[first][both], features[second][both], kinds[both]
                losses.append(self.contrast(a, b, kind))
                retrievals.append(retrieved(self.contrast.compared(a), self.contrast.compared(b), kind))
        for name, each in features.items():
            has = there[name][:, None] & views.encoded
            spreads.append(spread_within(each[has], kinds[has]))
        found = {"retrieval": retrievals, "spread": spreads}
        measures = {name: torch.stack(each).nanmean() for name, each in found.items() if each}
        measures = {name: value for name, value in measures.items() if bool(value.isfinite())}
        none = next(iter(features.values())).sum() * 0.0
        return torch.stack(losses).mean() if losses else none, measures

    def _predicted(self, maps: list[Tensor], encoded: Mapping[str, Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """Normalised images as predicted, by modality."""
        counts = [int(each.sum()) for each in encoded.values()]
        every = torch.cat(list(encoded.values()))
        order = [len(each) for each in encoded.values()]
        assert sum(counts) == len(maps[0])
        fused = [
            fusion(self._norm(level)(each), every).split(order)
            for fusion, level, each in zip(self.fusions, self.levels, maps, strict=True)
        ]
        return {
            name: self.heads[name](third, fourth, size) for name, third, fourth in zip(encoded, *fused, strict=True)
        }

    def _norm(self, level: Level) -> nn.Module:
        own = self._own_norms[0]
        return (self.norms if own is None else own)[str(level.index)]

    def _passed(self, name: str, images: Tensor) -> Tensor:
        """The modes of a modality that can be scored at all, ``(H, W)``."""
        size = (images.shape[2], images.shape[3])
        if name not in self.lowpass:
            return torch.ones(size, dtype=torch.bool, device=images.device)
        return (squared_radius(size) <= self.lowpass[name] ** 2).to(images.device)

    def _mode_weight(self, images: Tensor) -> Tensor:
        size = (images.shape[2], images.shape[3])
        return spectral_weight(size, self.slope, self.rho0).to(images.device)


def _levels(backbone: network.RSVHeat) -> list[Level]:
    """The maps that images are reconstructed from."""
    found = {level.stride: level for level in levels_of(backbone)}
    if missing := [stride for stride in _STRIDES if stride not in found]:
        raise ValueError(f"backbone must return its maps of strides {_STRIDES}, out_indices=(2, 3): none of {missing}")
    if backbone.fusion == "concat":  # which counts the channels of all modalities
        count = len(backbone.modalities)
        return [found[stride]._replace(channels=found[stride].channels // count) for stride in _STRIDES]
    return [found[stride] for stride in _STRIDES]


def _checked_weights(given: Mapping[str, float] | None) -> dict[str, float]:
    weights = {**dict.fromkeys(LOSSES, 1.0), **(given or {})}
    if set(weights) != set(LOSSES):
        raise KeyError(f"weights must be of {LOSSES}, got {sorted(set(weights) - set(LOSSES))}")
    for name, weight in weights.items():
        if as_float(weight) is None or not 0 <= weight < float("inf"):
            raise ValueError(f"the weight of {name!r} must be a number of at least 0, got {weight!r}")
    if not any(weights.values()):
        raise ValueError("weights must leave at least one loss")
    return {name: float(weights[name]) for name in LOSSES}


def _checked_lowpass(given: Mapping[str, Any] | None, modalities: Sequence[ModalitySpec]) -> dict[str, float]:
    names = [spec.name for spec in modalities]
    for name, radius in (given or {}).items():
        if name not in names or as_float(radius) is None or not 0 < radius <= 1:
            raise ValueError(f"lowpass must give radii in (0, 1] to some of {names}, got {name!r}: {radius!r}")
    return {name: float(radius) for name, radius in (given or {}).items()}
