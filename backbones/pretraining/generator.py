"""Targets alone or added: by name and weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from backbones.pretraining.targets import UNIT_TARGETS, UnitTarget, unit_target
from backbones.pretraining.teacher import Features
from spectral_ops.scalars import as_float

__all__ = ["TargetGenerator"]

_FEATURES = "features"


class TargetGenerator(nn.Module):
    """The targets of a pre-training, whose losses are added with these weights.

    Args:
        targets: Names to weights, ``dict(pixels=1.0, features=1.0)``; or a list with a dict for each, its ``type`` the
            name, its ``weight`` 1 unless given, and the rest the target's arguments:
            ``[dict(type="dct", modes=8), dict(type="features", weight=0.3, teacher="resnet50")]``. Names are
            ``"pixels"``, ``"dct"`` and ``"hog"`` (:class:`Pixels`, :class:`Dct`, :class:`Hog`) and ``"features"``
            (:class:`Features`).

    Attributes:
        units: The targets of units by name.
        features: Those of levels, or None.
        weights: By name.

    Raises:
        KeyError: There is no target of that name.
        ValueError: There is none at all, one twice, or a weight that is no positive number.

    Example:
        >>> generator = TargetGenerator(dict(pixels=1.0, hog=0.5))
        >>> generator.weights, generator.units["hog"]
        ({'pixels': 1.0, 'hog': 0.5}, Hog(unit=16, cell=8, bins=9, eps=1e-05))
    """

    def __init__(self, targets: Mapping[str, float] | Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        if isinstance(targets, Mapping):
            targets = [{"type": name, "weight": weight} for name, weight in targets.items()]
        self.weights: dict[str, float] = {}
        self.units = nn.ModuleDict()
        self.features: Features | None = None
        for given in targets:
            options = {name: value for name, value in given.items() if name not in ("type", "weight")}
            name, weight = given.get("type"), as_float(given.get("weight", 1.0))
            if name not in (*UNIT_TARGETS, _FEATURES):
                raise KeyError(f"targets must be of {[*UNIT_TARGETS, _FEATURES]}, got {name!r}")
            if name in self.weights:
                raise ValueError(f"targets has {name!r} twice")
            if weight is None or not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {name!r} must be a positive number, got {given.get('weight')!r}")
            self.weights[name] = float(weight)
            if name == _FEATURES:
                self.features = Features(**options)
            else:
                self.units[name] = unit_target(name, **options)
        if not self.weights:
            raise ValueError("targets must name at least one target")

    def unit_targets(self) -> dict[str, UnitTarget]:
        """The targets of units by name."""
        return dict(self.units.items())

    def forward(self, images: Tensor) -> dict[str, Tensor | list[Tensor]]:
        """All targets of whole images: ``(B, h, w, channels)`` by name, and a list of such for ``"features"``."""
        found: dict[str, Tensor | list[Tensor]] = {name: target(images) for name, target in self.units.items()}
        if self.features is not None:
            found[_FEATURES] = self.features(images)
        return found

    def weight(self, name: str, update: int, total: int | None) -> float:
        """The weight of a target's loss in an update."""
        factor = self.features.weight(update, total) if name == _FEATURES and self.features is not None else 1.0
        return self.weights[name] * factor
