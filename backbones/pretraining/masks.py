"""Which units of an image a pre-training hides: masks by name, and explicit ones.

A *unit* is a square of pixels that is hidden or seen as a whole. A mask is a bool tensor ``(B, h, w)`` over the units
of each image, **True where a unit is hidden**.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor

from spectral_ops.scalars import as_float, as_int

__all__ = [
    "BlockUnits",
    "Mask",
    "RandomUnits",
    "check_mask",
    "hidden_pixels",
    "kept_units",
    "mask_from_keep",
    "unit_grid",
]


def check_drawer(mask: Any) -> None:
    """Raise unless it is something that draws masks.

    Raises:
        TypeError: It is no :class:`Mask`.
    """
    if not callable(mask) or as_int(getattr(mask, "unit", None)) is None:
        given = f"a tensor of {tuple(mask.shape)}" if isinstance(mask, Tensor) else repr(mask)
        raise TypeError(
            f"mask must be a Mask that draws one for each batch, such as RandomUnits(unit=16, ratio=0.6), got {given}; "
            "an explicit one is given with the images"
        )


def unit_grid(size: Sequence[int], unit: int) -> tuple[int, int]:
    """How many units ``(h, w)`` an image of ``(H, W)`` px has.

    Raises:
        ValueError: A side is no multiple of the unit.

    Example:
        >>> unit_grid((224, 96), 16)
        (14, 6)
    """
    height, width = size
    if height < 1 or width < 1 or height % unit or width % unit:
        raise ValueError(f"images must be multiples of the unit of {unit} px, got {height} x {width} px")
    return height // unit, width // unit


def hidden_pixels(mask: Tensor, unit: int) -> Tensor:
    """A mask of units as one of pixels, ``(B, h, w) -> (B, 1, h * unit, w * unit)``, True where hidden.

    Example:
        >>> hidden_pixels(torch.tensor([[[True, False]]]), 2)[0, 0].int()
        tensor([[1, 1, 0, 0],
                [1, 1, 0, 0]], dtype=torch.int32)
    """
    return repeat(mask, "b h w -> b 1 (h p) (w q)", p=unit, q=unit)


def check_mask(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """An explicit mask, if it is one for images of so many units.

    Args:
        mask: Bool, True where a unit is hidden.
        shape: ``(B, h, w)`` that it must have.

    Raises:
        TypeError: It is no bool tensor.
        ValueError: It has another shape, or hides all or nothing of an image.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        given = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask must be a bool tensor, True where a unit is hidden, got {given}")
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(f"mask must have shape (B, h, w) = {tuple(shape)} in units, got {tuple(mask.shape)}")
    units = mask.flatten(1)
    for what, wrong in (("all", units.all(1)), ("nothing", ~units.any(1))):
        if wrong.any():
            raise ValueError(f"mask hides {what} of image {int(wrong.nonzero()[0, 0])}: it must hide some of each")
    return mask


def mask_from_keep(keep: Tensor, shape: Sequence[int]) -> Tensor:
    """The mask that hides all units but these.

    Args:
        keep: ``(B, K)``, int64: row-major indices of the units that are seen, in any order.
        shape: ``(B, h, w)`` of the mask.

    Raises:
        TypeError: ``keep`` is no int64 tensor.
        ValueError: It has another shape, indices repeat or are out of range, or it keeps all or nothing.

    Example:
        >>> mask_from_keep(torch.tensor([[3, 0]]), (1, 2, 2))
        tensor([[[False,  True],
                 [ True, False]]])
    """
    batch, height, width = shape
    count = height * width
    if not isinstance(keep, Tensor) or keep.dtype != torch.long:
        given = keep.dtype if isinstance(keep, Tensor) else type(keep).__name__
        raise TypeError(f"keep must be an int64 tensor of unit indices, got {given}")
    if keep.ndim != 2 or len(keep) != batch or not 0 < keep.shape[1] < count:
        raise ValueError(
            f"keep must have shape (B, K) with B = {batch} and 0 < K < {count} units, got {tuple(keep.shape)}"
        )
    if keep.min() < 0 or keep.max() >= count:
        raise ValueError(f"keep must hold indices of 0..{count - 1}, got {int(keep.min())}..{int(keep.max())}")
    seen = torch.zeros(batch, count, dtype=torch.long, device=keep.device).scatter_add(1, keep, torch.ones_like(keep))
    if seen.max() > 1:
        image, index = (int(i) for i in (seen > 1).nonzero()[0])
        raise ValueError(f"keep holds unit {index} of image {image} more than once")
    return rearrange(seen == 0, "b (h w) -> b h w", h=height)


def kept_units(mask: Tensor) -> Tensor:
    """The indices ``(B, K)`` of the units that a mask shows, ascending.

    Raises:
        ValueError: It does not show as many of each image.

    Example:
        >>> kept_units(torch.tensor([[[False, True], [True, False]]]))
        tensor([[0, 3]])
    """
    units = rearrange(mask, "b h w -> b (h w)")
    counts = (~units).sum(1)
    if len(counts) and (counts != counts[0]).any():
        raise ValueError(f"mask must show as many units of each image, got {counts.min()} to {counts.max()}")
    return rearrange((~units).nonzero()[:, 1], "(b k) -> b k", b=len(mask))


class Mask(ABC):
    """Hides the same number of units of every image.

    Of L units ``int(L * (1 - ratio))`` are seen and the others hidden, the product taken exactly: 4 of 20 at ratio 0.8.

    Args:
        unit: Side of a unit in pixels.
        ratio: Share of the units that is hidden, in (0, 1).

    Raises:
        ValueError: An argument does not fit.
    """

    def __init__(self, unit: int = 16, ratio: float = 0.6) -> None:
        given = f"got {unit!r} and {ratio!r}"
        self.unit, self.ratio = as_int(unit), as_float(ratio)
        if self.unit is None or self.unit < 1 or self.ratio is None or not 0 < self.ratio < 1:
            raise ValueError(f"unit must be a positive int and ratio in (0, 1), {given}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(unit={self.unit}, ratio={self.ratio})"

    def seen(self, count: int) -> int:
        """How many of so many units are seen.

        Raises:
            ValueError: All or none: the image is too small for the unit and the ratio.
        """
        seen = math.floor(count * (1 - self.ratio) + 1e-9)  # 20 * (1 - 0.8) is less than 4 in floating point
        if not 0 < seen < count:
            raise ValueError(
                f"ratio {self.ratio} of {count} units of {self.unit} px hides {count - seen} of them: some must be "
                f"hidden and some seen; take larger images, a smaller unit or another ratio"
            )
        return seen

    def __call__(self, batch: int, size: Sequence[int], *, generator: torch.Generator | None = None) -> Tensor:
        """Draw a mask.

        Args:
            batch: Number of images.
            size: ``(H, W)`` of the images in pixels.
            generator: What random numbers are taken from, one of the CPU; by default the global one of the CPU, on
                every device, so that a run which restores its state draws the same masks.

        Returns:
            Bool, ``(B, h, w)``, on the CPU, True where a unit is hidden.

        Raises:
            ValueError: The images are no multiples of the unit, or too few units.
        """
        grid = unit_grid(size, self.unit)
        return self._draw(batch, grid, self.seen(grid[0] * grid[1]), generator)

    @abstractmethod
    def _draw(self, batch: int, grid: tuple[int, int], seen: int, generator: torch.Generator | None) -> Tensor:
        """The mask of a batch."""


class RandomUnits(Mask):
    """Hides units at random, each as likely as the others.

    The units seen are the first of the stable argsort of uniform noise.

    Args:
        unit: Side of a unit in pixels. 16 for images of about 96 px, 32 from 224 px on: fewer and larger units disturb
            global operators less.
        ratio: Share of the units that is hidden.

    Example:
        >>> RandomUnits(unit=16, ratio=0.6)(2, (96, 96)).sum((1, 2))  # 36 units, 14 of them seen
        tensor([22, 22])
    """

    def keep(self, batch: int, size: Sequence[int], *, generator: torch.Generator | None = None) -> Tensor:
        """Which units are seen, ``(B, K)``, in the order of the noise: of the same draw the mask is their complement.

        Args:
            batch, size, generator: As for a call.
        """
        height, width = unit_grid(size, self.unit)
        return _first(batch, height * width, self.seen(height * width), generator)

    def _draw(self, batch: int, grid: tuple[int, int], seen: int, generator: torch.Generator | None) -> Tensor:
        return mask_from_keep(_first(batch, grid[0] * grid[1], seen, generator), (batch, *grid))


def _first(batch: int, count: int, seen: int, generator: torch.Generator | None) -> Tensor:
    noise = torch.rand(batch, count, generator=generator, device="cpu")
    return noise.argsort(dim=1, stable=True)[:, :seen]


class BlockUnits(Mask):
    r"""Hides rectangles of units until their number is reached, after BEiT's block-wise masking.

    The area of a rectangle is uniform from ``smallest`` to what is still to be hidden, its aspect ratio log-uniform in
    :math:`[a, 1/a]` and its place uniform. Of the last one only so many units are taken, row by row, that the number is
    met exactly.

    Args:
        unit: Side of a unit in pixels.
        ratio: Share of the units that is hidden.
        smallest: Units of the smallest rectangle.
        aspect: a, in (0, 1].

    Source:
        H. Bao et al., *BEiT: BERT Pre-Training of Image Transformers*, ICLR 2022, arXiv 2106.08254.

    Example:
        >>> BlockUnits(unit=16, ratio=0.4)(2, (224, 224)).sum((1, 2))
        tensor([79, 79])
    """

    def __init__(self, unit: int = 16, ratio: float = 0.4, smallest: int = 4, aspect: float = 0.3) -> None:
        super().__init__(unit, ratio)
        given = f"got {smallest!r} and {aspect!r}"
        self.smallest, self.aspect = as_int(smallest), as_float(aspect)
        if self.smallest is None or self.smallest < 1 or self.aspect is None or not 0 < self.aspect <= 1:
            raise ValueError(f"smallest must be a positive int and aspect in (0, 1], {given}")

    def _draw(self, batch: int, grid: tuple[int, int], seen: int, generator: torch.Generator | None) -> Tensor:
        mask = torch.zeros(batch, *grid, dtype=torch.bool, device="cpu")
        for image in mask:
            while left := image.numel() - seen - int(image.sum()):
                top, bottom, start, end = self._rectangle(grid, left, generator)
                fresh = torch.zeros_like(image)
                fresh[top:bottom, start:end] = True
                fresh &= ~image
                image |= fresh & (fresh.flatten().cumsum(0).view(grid) <= left)
        return mask

    def _rectangle(
        self, grid: tuple[int, int], left: int, generator: torch.Generator | None
    ) -> tuple[int, int, int, int]:
        """Its first and last row and column, the last ones exclusive."""
        area, shape, *place = torch.rand(4, generator=generator, device="cpu", dtype=torch.float64).tolist()
        area = self.smallest + area * max(left - self.smallest, 0)
        aspect = math.exp((2 * shape - 1) * math.log(self.aspect))
        sides = math.sqrt(area * aspect), math.sqrt(area / aspect)
        spans = []
        for side, n, at in zip(sides, grid, place, strict=True):
            side = min(max(round(side), 1), n)
            first = int(at * (n - side + 1))
            spans += [first, first + side]
        return spans[0], spans[1], spans[2], spans[3]
