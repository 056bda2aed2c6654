"""What a pre-training in the cosine domain hides of each image: a band of frequencies, sectors of them, or pixels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from backbones.pretraining.masks import RandomUnits, hidden_pixels
from backbones.remote_sensing.frequency import ConstantMode, modes_below, squared_radius
from spectral_ops.scalars import as_float

__all__ = ["FrequencyHiding", "Hide", "Views", "random_sectors"]

Hide = Literal["bands", "sectors", "units", "nothing"]

#: Number of views of an image: the lower band and the upper one.
SLOTS = 2
#: Shares of the modes that a lower band has, and that sectors hide.
BANDS, SECTORS = (0.02, 0.15), (0.2, 0.3)


@dataclass(frozen=True)
class Views:
    """What a network sees of each image of a batch, and what is asked of it.

    Attributes:
        kept: Bool, ``(B, 2, H, W)``: the cosine modes of the lower and of the upper view. A whole image, clean or with
            hidden pixels, is a lower view of all modes.
        encoded: Bool, ``(B, 2)``: which views the network sees.
        scored: Bool, ``(B, H, W)``: the modes whose prediction counts.
        whole: Bool, ``(B,)``: images that are one view.
        pixels: Bool, ``(B, 1, H, W)``: pixels that are hidden; None where frequencies are.
    """

    kept: Tensor
    encoded: Tensor
    scored: Tensor
    whole: Tensor
    pixels: Tensor | None = None

    def to(self, device: torch.device | str) -> Views:
        """The same on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def of(self, samples: Tensor) -> Views:
        """Those of some samples."""
        return self._each(lambda tensor: tensor[samples])

    def kinds(self) -> Tensor:
        """What each view is, ``(B, 2)``: 0 lower band, 1 upper band, 2 the whole image, -1 where none is encoded."""
        slots = torch.arange(SLOTS, device=self.whole.device).expand(len(self.whole), SLOTS)
        return torch.where(self.encoded, torch.where(self.whole[:, None], SLOTS, slots), -1)

    def _each(self, change: object) -> Views:
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Views(**{name: None if tensor is None else change(tensor) for name, tensor in found.items()})


class FrequencyHiding:
    r"""Draws what is hidden of each image, the same of all modalities of a place.

    Args:
        hide: ``"bands"``: the lower or the upper band, each in half of the images; the other one is seen.
            ``"sectors"``: random wedges of rings; both bands are seen without them. ``"nothing"``: both bands are seen
            whole, as in the paper. ``"units"``: squares of pixels, as in SimMIM; the image is not split.
        share: Range of the share of the modes that the lower band has, or that the sectors hide; drawn for each image.
            By default (0.02, 0.15) for the bands, the published split at most, beyond which natural images are mostly
            noise; and (0.2, 0.3) for sectors.
        clean: Probability that an image is seen whole, and nothing of it scored unless all is.
        constant: ``"low"``: the constant mode is in the lower band; ``"both"``: in both, as published.
        score: ``"hidden"``: what is hidden counts; ``"all"``: everything, as in the paper.
        unit, ratio: Side of a square in pixels and share that is hidden, of ``"units"``.

    Raises:
        ValueError: An argument does not fit.

    Example:
        >>> views = FrequencyHiding("bands", clean=0.0)(4, (32, 48), generator=torch.Generator().manual_seed(0))
        >>> bool((views.kept.any(1) ^ views.scored).all()), views.encoded.sum(1).tolist()  # what is not seen is scored
        (True, [1, 1, 1, 1])
    """

    def __init__(
        self,
        hide: Hide = "bands",
        *,
        share: Sequence[float] | None = None,
        clean: float = 0.25,
        constant: ConstantMode = "low",
        score: Literal["hidden", "all"] = "hidden",
        unit: int = 16,
        ratio: float = 0.6,
    ) -> None:
        if hide not in get_args(Hide):
            raise ValueError(f"hide must be one of {get_args(Hide)}, got {hide!r}")
        if constant not in get_args(ConstantMode):
            raise ValueError(f"constant must be one of {get_args(ConstantMode)}, got {constant!r}")
        if score not in ("hidden", "all") or (hide == "nothing" and score == "hidden"):
            raise ValueError(f"score must be 'hidden' or 'all', and 'all' where nothing is hidden, got {score!r}")
        if as_float(clean) is None or not 0 <= clean <= 1:
            raise ValueError(f"clean must be a probability, got {clean!r}")
        if share is None:
            share = SECTORS if hide == "sectors" else BANDS
        ends = tuple(map(as_float, share)) if isinstance(share, Sequence) else ()
        if len(ends) != 2 or None in ends or not 0 < ends[0] <= ends[1] < 1:
            raise ValueError(f"share must be two ascending numbers between 0 and 1, got {share!r}")
        self.hide: Hide = hide
        self.share, self.clean, self.constant, self.score = ends, float(clean), constant, score
        self._units = RandomUnits(unit, ratio) if hide == "units" else None

    @property
    def unit(self) -> int | None:
        """Side of a hidden square in pixels; None where frequencies are hidden."""
        return None if self._units is None else self._units.unit

    def __repr__(self) -> str:
        units = f", unit={self._units.unit}, ratio={self._units.ratio}" if self._units else ""
        return (
            f"FrequencyHiding({self.hide!r}, share={self.share}, clean={self.clean:g}, constant={self.constant!r}, "
            f"score={self.score!r}{units})"
        )

    def __call__(self, batch: int, size: Sequence[int], *, generator: torch.Generator | None = None) -> Views:
        """Draw the views of a batch, on the CPU.

        Args:
            batch: B.
            size: ``(H, W)`` of the images in pixels.
            generator: Of the CPU; torch's global one by default.

        Raises:
            ValueError: Squares are hidden, and the size is no multiple of them.
        """
        with torch.device("cpu"):  # whatever the default one is: generators and float64 are the CPU's
            return self._drawn(batch, (size[0], size[1]), generator)

    def _drawn(self, batch: int, size: tuple[int, int], generator: torch.Generator | None) -> Views:
        height, width = size
        clean = torch.rand(batch, generator=generator) < self.clean
        all_modes = torch.ones(batch, height, width, dtype=torch.bool)
        if self._units is not None:
            pixels = hidden_pixels(self._units(batch, size, generator=generator), self._units.unit)
            return self._whole(all_modes, ~clean, pixels & ~clean[:, None, None, None])
        low, high = self.share
        shares = low + (high - low) * torch.rand(batch, generator=generator, dtype=torch.float64)
        radius = squared_radius((height, width))
        lower = modes_below(radius, shares)
        kept = torch.stack([lower, ~lower], 1)
        encoded = torch.ones(batch, SLOTS, dtype=torch.bool)
        if self.hide == "bands":
            encoded[torch.arange(batch), (torch.rand(batch, generator=generator) < 0.5).long()] = False
            kept = kept & encoded[:, :, None, None]
        elif self.hide == "sectors":
            hidden = torch.stack([random_sectors((height, width), float(s), generator=generator) for s in shares])
            kept = kept & ~hidden[:, None]
        if self.constant == "both":  # also where the lower band, which has it, is hidden
            kept[:, :, 0, 0] = encoded
        hidden = all_modes if self.score == "all" else ~kept.any(1)
        whole = self._whole(all_modes, torch.full_like(clean, self.score == "all"), None)
        return Views(
            torch.where(clean[:, None, None, None], whole.kept, kept),
            torch.where(clean[:, None], whole.encoded, encoded),
            torch.where(clean[:, None, None], whole.scored, hidden),
            clean,
        )

    def _whole(self, all_modes: Tensor, scored: Tensor, pixels: Tensor | None) -> Views:
        """Views of whole images, some of which are scored."""
        batch = len(all_modes)
        encoded = torch.tensor([True, False]).expand(batch, SLOTS)
        kept = all_modes[:, None] & encoded[:, :, None, None]
        scored = all_modes & (scored | torch.tensor(self.score == "all"))[:, None, None]
        return Views(kept, encoded, scored, torch.ones(batch, dtype=torch.bool), pixels)


def random_sectors(size: Sequence[int], share: float, *, generator: torch.Generator | None = None) -> Tensor:
    r"""Hide a share of the cosine modes of a grid, by wedges of rings round the constant mode.

    A ring has a middle radius :math:`\rho`, uniform in [0, 1], and a width uniform in [0.1, 0.3]; a wedge a direction
    uniform in the quarter circle and an angle uniform in [15, 45] degrees. They are added until the share is reached,
    of the last one only as much as is needed, the lowest modes first. The constant mode is never hidden.

    Args:
        size: ``(H, W)``.
        share: Of the modes that are hidden, in (0, 1).
        generator: Of the CPU.

    Returns:
        Bool, ``(H, W)``, on the CPU, True where a mode is hidden.

    Example:
        >>> random_sectors((32, 48), 0.25, generator=torch.Generator().manual_seed(0)).float().mean()
        tensor(0.2500)
    """
    height, width = size
    radius = squared_radius((height, width)).sqrt()
    rows, columns = (torch.arange(n, dtype=torch.float64, device="cpu") / n for n in (height, width))
    angle = torch.atan2(rows[:, None], columns) / (math.pi / 2)  # 0 along the columns, 1 along the rows
    order = radius.flatten().argsort(stable=True)
    hidden = torch.zeros(height, width, dtype=torch.bool, device="cpu")
    wanted = min(round(share * height * width), height * width - 1)
    while left := wanted - int(hidden.sum()):
        ring, thick, towards, wide = torch.rand(4, generator=generator, device="cpu", dtype=torch.float64).tolist()
        thick, wide = 0.1 + 0.2 * thick, (15 + 30 * wide) / 90
        fresh = ((radius - ring).abs() < thick / 2) & ((angle - towards).abs() < wide / 2) & ~hidden
        fresh[0, 0] = False
        hidden.view(-1)[order[fresh.flatten()[order]][:left]] = True
    return hidden
