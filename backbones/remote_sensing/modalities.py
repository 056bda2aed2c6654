"""What the images of a modality are: its bands, their unit and their statistics, as data that goes with the weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spectral_ops.scalars import as_float
from spectral_ops.torch_internals import exporting, is_symbolic, transforming

__all__ = ["OPTICAL", "SAR", "UNITS", "ModalitySpec", "Unit", "specs_in"]


class Unit(NamedTuple):
    """What values a unit allows.

    Attributes:
        low, high: The range of whole values, wide enough for real sensors.
        slack: By which interpolation may leave it: bicubic resizing overshoots at edges.
    """

    low: float
    high: float
    slack: float


#: The units that are checked. Reflectance is a share of 1, dB is 10 log10 of power.
UNITS: dict[str, Unit] = {
    "reflectance": Unit(-0.2, 2.5, 0.3),
    "counts": Unit(0.0, 65535.0, 8192.0),
    "dB": Unit(-100.0, 60.0, 10.0),
    "power": Unit(0.0, 1e6, 0.0),
    "uint8": Unit(0.0, 255.0, 32.0),
}

#: Below this, counts and bytes that are no whole numbers have been scaled already.
_SCALED = 4.0
#: A description longer than this is not one.
_LONGEST = 65536


@dataclass(frozen=True)
class ModalitySpec:
    r"""The bands of a modality in their order, their unit, and the statistics that a network normalises them with.

    .. math::  x_b \leftarrow (\mathrm{clip}(x_b) - \mu_b) / \sigma_b

    Args:
        name: Of the modality, an identifier: ``"optical"``.
        bands: Names of the bands, in the order of the channels.
        unit: ``"reflectance"`` (about 0 to 1), ``"counts"`` (16 bits), ``"dB"``, ``"power"`` (linear, as sigma nought),
            ``"uint8"`` (0 to 255), or None where nothing but finiteness is checked.
        mean, std: In that unit, for each band, a list or an array of NumPy, or a number for all.
        clip: ``(lowest, highest)`` that values are clipped to before they are normalised; None for no clipping.

    Raises:
        ValueError: An argument does not fit; statistics outside of the range of the unit, too.

    Example:
        >>> radar = ModalitySpec("sar", ("VV", "VH"), "dB", mean=(-11.0, -17.0), std=5.0, clip=(-30.0, 5.0))
        >>> radar.normalised(torch.tensor([-11.0, -22.0]).reshape(1, 2, 1, 1)).flatten().tolist()
        [0.0, -1.0]
        >>> radar.check(torch.full((1, 3, 8, 8), -10.0))
        Traceback (most recent call last):
        ValueError: modality 'sar' has 2 bands (VV, VH) in dB: images must have shape (B, 2, H, W), got (1, 3, 8, 8)
    """

    name: str
    bands: tuple[str, ...]
    unit: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    clip: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        # Modalities name the stems of a network, whose other attributes must stay reachable.
        if not isinstance(self.name, str) or not self.name.isidentifier() or hasattr(nn.ModuleDict, self.name):
            raise ValueError(f"name must be an identifier that torch.nn.ModuleDict does not use, got {self.name!r}")
        bands = () if isinstance(self.bands, str) or not isinstance(self.bands, Sequence) else tuple(self.bands)
        if not bands or not all(isinstance(b, str) and b for b in bands) or len(set(bands)) != len(bands):
            raise ValueError(f"bands of {self.name!r} must be a list of different names, got {self.bands!r}")
        if self.unit is not None and self.unit not in UNITS:
            raise ValueError(f"unit of {self.name!r} must be one of {tuple(UNITS)} or None, got {self.unit!r}")
        set_ = object.__setattr__  # what the dataclass is frozen for others by
        set_(self, "bands", bands)
        for statistic in ("mean", "std"):
            set_(self, statistic, self._for_each_band(statistic, getattr(self, statistic)))
        for band, mean, std in zip(bands, self.mean, self.std, strict=True):
            if std <= 0:
                raise ValueError(f"std of band {band!r} of {self.name!r} must be positive, got {std}")
            if self.unit is not None and not UNITS[self.unit].low <= mean <= UNITS[self.unit].high:
                raise ValueError(
                    f"mean of band {band!r} of {self.name!r} is {mean}, outside of {self._range()}: are the statistics "
                    f"those of another unit?"
                )
        if self.clip is not None:
            ends = self.clip.tolist() if isinstance(self.clip, np.ndarray) else self.clip
            clip = tuple(map(_number, ends)) if isinstance(ends, Sequence) else ()
            if len(clip) != 2 or None in clip or not clip[0] < clip[1]:
                raise ValueError(f"clip of {self.name!r} must be (lowest, highest) or None, got {self.clip!r}")
            set_(self, "clip", clip)

    def _for_each_band(self, what: str, given: object) -> tuple[float, ...]:
        given = given.tolist() if isinstance(given, np.ndarray) else given
        each = given if isinstance(given, Sequence) and not isinstance(given, str) else [given] * len(self.bands)
        values = tuple(map(_number, each))
        if len(values) != len(self.bands) or None in values:
            raise ValueError(
                f"{what} of {self.name!r} must be a number or {len(self.bands)}, one for each of the bands "
                f"{', '.join(self.bands)}, got {given!r}"
            )
        return values

    def _range(self) -> str:
        unit = UNITS[self.unit]
        return f"the range of {self.unit}, {unit.low:g} to {unit.high:g}"

    # -- images -----------------------------------------------------------------------------------------------------

    def check_shape(self, images: Tensor) -> None:
        """Raise ``ValueError`` unless these are images ``(B, bands, H, W)`` of floating point."""
        if images.ndim != 4 or images.shape[1] != len(self.bands):
            raise ValueError(
                f"modality {self.name!r} has {len(self.bands)} bands ({', '.join(self.bands)}) in "
                f"{self.unit or 'no unit'}: images must have shape (B, {len(self.bands)}, H, W), got "
                f"{tuple(images.shape)}"
            )
        if not images.is_floating_point():
            raise ValueError(f"images of modality {self.name!r} must be of floating point, got {images.dtype}")

    def check(self, images: Tensor) -> None:
        """Raise unless the values of images can be of this modality.

        They must be finite and within the range of the unit, by which dB are told from power and counts from
        reflectance; and where a unit's values look like those of another inside of its range, that is an error, too: no
        negative value in a tile of dB, or small fractions for counts or bytes.

        Args:
            images: ``(B, bands, H, W)``.

        Raises:
            ValueError: They are not; the message names the band, the unit, its range and the values found.
        """
        self.check_shape(images)
        if images.numel() == 0 or images.device.type == "meta" or is_symbolic(images):
            return
        bands = images.detach().transpose(0, 1).flatten(1)
        # NaN is both the lowest and the highest value of a band that has one.
        lows, highs = torch.stack(torch.aminmax(bands, dim=1)).tolist()
        for i, (band, low, high) in enumerate(zip(self.bands, lows, highs, strict=True)):
            if reason := self._wrong(low, high, bands[i]):
                raise ValueError(
                    f"band {band!r} of modality {self.name!r} has values from {low:g} to {high:g}: {reason}"
                )

    def _wrong(self, low: float, high: float, values: Tensor) -> str:
        if not (math.isfinite(low) and math.isfinite(high)):
            return f"all must be finite, in {self._range() if self.unit else 'no unit'}"
        if self.unit is None:
            return ""
        unit = UNITS[self.unit]
        if low < unit.low - unit.slack or high > unit.high + unit.slack:
            hints = {
                "reflectance": "are these counts or bytes?",
                "power": "are these dB?" if low < 0 else "are these counts?",
                "uint8": "are these counts?" if high > 255 else "are they normalised already?",
            }
            return f"outside of {self._range()}; {hints.get(self.unit, 'are they of another unit?')}"
        if low == high:
            return ""  # an empty tile, padding for example, tells nothing
        if self.unit == "dB" and low >= 0:
            return f"none is negative, as in {self._range()}, most are; is this linear power?"
        if self.unit in ("counts", "uint8") and high <= _SCALED and bool((values != values.round()).any()):
            return f"fractions, and small ones for {self._range()}; are they scaled or normalised already?"
        return ""

    def normalised(self, images: Tensor) -> Tensor:
        """Images clipped, and normalised band by band, unchecked."""
        images = images if self.clip is None else images.clamp(*self.clip)
        # By numbers, not tensors: these follow to any device and type, and no copy of a network can lose them.
        bands = [(images[:, i : i + 1] - m) / s for i, (m, s) in enumerate(zip(self.mean, self.std, strict=True))]
        return torch.cat(bands, 1)

    # -- as data ----------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Its arguments, of plain types; ``ModalitySpec(**spec.to_dict())`` is the same again."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def of(cls, given: ModalitySpec | Mapping[str, Any]) -> ModalitySpec:
        """A spec as it is, or of a dict of its arguments, as configs write it.

        Raises:
            TypeError: It is neither, or the dict has other keys.
        """
        if isinstance(given, cls):
            return given
        wanted = set(cls.__dataclass_fields__)
        if not isinstance(given, Mapping) or not wanted - {"clip"} <= set(given) <= wanted:
            raise TypeError(
                f"a modality must be a ModalitySpec or a dict of {', '.join(cls.__dataclass_fields__)}, got {given!r}"
            )
        return cls(**given)

    def to_tensor(self, place: int = 0) -> Tensor:
        """Its description as bytes, uint8: what a state dict keeps.

        Args:
            place: Of the modality among those of its network, the order of the channels of packed images.
        """
        text = json.dumps({"place": place, **self.to_dict()}, sort_keys=True, allow_nan=False)
        return torch.tensor(list(text.encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, description: Tensor) -> tuple[ModalitySpec, int]:
        """The spec that :meth:`to_tensor` describes, and its place. It comes from a file, so nothing is trusted.

        Raises:
            ValueError: It is no description.
        """
        if description.dtype != torch.uint8 or description.ndim != 1 or description.numel() > _LONGEST:
            raise ValueError(
                f"a description of a modality must be bytes, uint8 of one dimension, got {description.dtype} "
                f"{tuple(description.shape)}"
            )
        try:
            content = json.loads(bytes(description.tolist()).decode())
            place = content.pop("place")
            if not isinstance(place, int):
                raise TypeError(f"place must be an int, got {place!r}")
            return cls.of(content), place
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"not a description of a modality: {error}") from error

    def difference(self, other: ModalitySpec) -> str:
        """What another spec says otherwise, ``""`` where they are the same."""
        mine, theirs = asdict(self), asdict(other)
        return ", ".join(f"{key} {mine[key]!r} and {theirs[key]!r}" for key in mine if mine[key] != theirs[key])


def _number(value: object) -> float | None:
    number = as_float(value)
    return float(number) if number is not None and math.isfinite(number) else None


def checking() -> bool:
    """Whether values may be looked at: a graph that is traced, compiled or exported has none yet."""
    return not (torch.compiler.is_compiling() or exporting() or transforming())


def specs_in(state: Mapping[str, Tensor]) -> tuple[ModalitySpec, ...]:
    """The modalities that a network was made for, in their order, as its state dict tells.

    Args:
        state: Of an :class:`~backbones.remote_sensing.RSVHeat`, behind any prefix;
            ``backbones.read_weights(path)[0]`` of a file.

    Returns:
        None at all for files that hold no descriptions, those of other authors for example.

    Raises:
        ValueError: A description cannot be read, or a modality has two.

    Example:
        >>> from backbones.remote_sensing import RSVHeat
        >>> [spec.bands for spec in specs_in(RSVHeat("nano").state_dict())]
        [('R', 'G', 'B'), ('VV',)]
    """
    named = [t for name, t in state.items() if name.endswith(".description") and isinstance(t, Tensor)]
    found = sorted((ModalitySpec.from_tensor(t) for t in named), key=lambda each: each[1])
    names = [spec.name for spec, _ in found]
    if len(set(names)) != len(names):
        raise ValueError(f"these tensors are of several networks: they describe the modalities {names}")
    return tuple(spec for spec, _ in found)


#: Pictures of three bytes, with the statistics of ImageNet.
OPTICAL = ModalitySpec("optical", ("R", "G", "B"), "uint8", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
#: Radar backscatter of one polarisation, with statistics of this project's own: round numbers for scenes of Sentinel-1.
SAR = ModalitySpec("sar", ("VV",), "dB", mean=(-12.0,), std=(5.0,), clip=(-30.0, 5.0))
