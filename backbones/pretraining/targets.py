"""What a pre-training predicts of hidden units, from the images alone: normalised pixels, cosines, gradients."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.pretraining.masks import unit_grid
from spectral_ops import dctn, idctn
from spectral_ops.apply import no_autocast
from spectral_ops.scalars import as_float, as_int

__all__ = ["Dct", "Hog", "Pixels", "UnitTarget", "images_from_units", "units"]


def units(images: Tensor, unit: int) -> Tensor:
    """The units of images, ``(B, C, H, W) -> (B, h, w, unit * unit * C)``, values in the order (row, column, channel).

    Example:
        >>> units(torch.arange(8.0).reshape(1, 2, 2, 2), 2)
        tensor([[[[0., 4., 1., 5., 2., 6., 3., 7.]]]])
    """
    unit_grid(images.shape[2:], unit)
    return rearrange(images, "b c (h p) (w q) -> b h w (p q c)", p=unit, q=unit)


def images_from_units(values: Tensor, unit: int) -> Tensor:
    """The images of which these are the units: the inverse of :func:`units`.

    Example:
        >>> images = torch.randn(1, 3, 32, 48)
        >>> torch.equal(images_from_units(units(images, 16), 16), images)
        True
    """
    return rearrange(values, "b h w (p q c) -> b c (h p) (w q)", p=unit, q=unit)


class UnitTarget(nn.Module, ABC):
    """A target of so many numbers for each square of ``unit`` px.

    Args:
        unit: Side of the square in pixels. The units of a mask must be multiples of it, so that each square is hidden
            as a whole or seen as a whole.

    Shape:
        Images ``(B, C, H, W)``, H and W multiples of the unit; targets ``(B, H / unit, W / unit, channels(C))``,
        float32 or float64 and without gradient.

    Raises:
        ValueError: ``unit`` is no positive int, or an image no multiple of it.
    """

    def __init__(self, unit: int = 16) -> None:
        super().__init__()
        given = f"got {unit!r}"
        self.unit = as_int(unit)
        if self.unit is None or self.unit < 1:
            raise ValueError(f"unit must be a positive int, {given}")

    @abstractmethod
    def channels(self, in_chans: int) -> int:
        """How many numbers a square of images with so many channels has."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """The targets of images."""

    def restore(self, predicted: Tensor, images: Tensor) -> Tensor | None:
        """Images that have these targets, with what the target leaves out taken from ``images``; None if it cannot be.

        Args:
            predicted: ``(B, h, w, channels)``.
            images: What the targets were made of.
        """
        return None


class Pixels(UnitTarget):
    r"""The pixels of each unit, normalised by the mean and the unbiased variance of all its values:

    .. math::  \frac{x - \mu}{\sqrt{\max(\sigma^2, \text{floor}) + \text{eps}}}.

    Args:
        unit: Side of a unit in pixels.
        floor: Smallest variance that counts, for flat units, which would teach pure noise. 4e-3 suits noisy photographs
            with values in [-1, 1]; values of another scale take it by the square of that. 0 for none.
        eps: Added to the variance.
        normalise: False for the pixels themselves.

    Source:
        K. He et al., *Masked Autoencoders Are Scalable Vision Learners*, CVPR 2022, arXiv 2111.06377.

    Example:
        >>> target = Pixels(unit=16)(torch.randn(1, 3, 32, 32))
        >>> target.shape, bool(target.mean().abs() < 1e-6)
        (torch.Size([1, 2, 2, 768]), True)
    """

    def __init__(self, unit: int = 16, floor: float = 4e-3, eps: float = 1e-6, normalise: bool = True) -> None:
        super().__init__(unit)
        for name, value in (("floor", floor), ("eps", eps)):
            if not (as_float(value) or 0) >= 0 or as_float(value) is None:
                raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
        self.floor, self.eps, self.normalise = float(floor), float(eps), normalise

    def extra_repr(self) -> str:
        return f"unit={self.unit}, floor={self.floor:g}, eps={self.eps:g}, normalise={self.normalise}"

    def channels(self, in_chans: int) -> int:
        return self.unit**2 * in_chans

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        values = units(_at_least_single(images), self.unit)
        if not self.normalise:
            return values
        mean, scale = self._moments(values)
        return (values - mean) / scale

    def restore(self, predicted: Tensor, images: Tensor) -> Tensor:
        if self.normalise:
            mean, scale = self._moments(units(_at_least_single(images), self.unit))
            predicted = predicted * scale + mean
        return images_from_units(predicted, self.unit)

    def _moments(self, values: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(values, -1, correction=1, keepdim=True)
        return mean, (variance.clamp(min=self.floor) + self.eps).sqrt()


class Dct(Pixels):
    """The lowest cosine coefficients of each unit's pixels, by the orthonormal DCT-II over its rows and columns.

    Args:
        unit: Side of a unit in pixels.
        modes: m: the lowest m x m coefficients of each channel.
        floor, eps, normalise: Of the pixels that are transformed, see :class:`Pixels`.

    Shape:
        The values of a unit stand in the order (row frequency, column frequency, channel).

    Example:
        >>> Dct(unit=16, modes=8)(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 2, 2, 192])
    """

    def __init__(
        self, unit: int = 16, modes: int = 8, floor: float = 4e-3, eps: float = 1e-6, normalise: bool = True
    ) -> None:
        super().__init__(unit, floor, eps, normalise)
        given = f"got {modes!r}"
        self.modes = as_int(modes)
        if self.modes is None or not 1 <= self.modes <= self.unit:
            raise ValueError(f"modes must be an int in 1..{self.unit}, the unit, {given}")

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, modes={self.modes}"

    def channels(self, in_chans: int) -> int:
        return self.modes**2 * in_chans

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        squares = rearrange(super().forward(images), "b h w (p q c) -> b h w c p q", p=self.unit, q=self.unit)
        with no_autocast(images.device.type):
            lowest = dctn(squares, dims=(-2, -1), modes=(self.modes, self.modes))
        return rearrange(lowest, "b h w c p q -> b h w (p q c)")

    def restore(self, predicted: Tensor, images: Tensor) -> Tensor:
        lowest = rearrange(predicted, "b h w (p q c) -> b h w c p q", p=self.modes, q=self.modes)
        more = self.unit - self.modes
        squares = idctn(F.pad(lowest, (0, more, 0, more)), dims=(-2, -1))
        return super().restore(rearrange(squares, "b h w c p q -> b h w (p q c)"), images)


class Hog(UnitTarget):
    r"""Histograms of oriented gradients, of each channel by itself, as MaskFeat predicts them.

    The gradient of a pixel has the central differences :math:`x_{i+1} - x_{i-1}`, 0 at the two ends of an axis. Its
    orientation, in [0, 180) degrees from the direction of the columns to that of the rows, is shared out between the
    two bins whose centres :math:`(k + 1/2) \cdot 180 / \text{bins}` it lies between, linearly; bins are a circle. A
    cell's histogram is the mean of the magnitudes so shared out, over its pixels, divided by
    :math:`\sqrt{\lVert v \rVert^2 + \text{eps}^2}`: the local contrast normalisation.

    Args:
        unit: Side of a unit in pixels.
        cell: Side of a cell in pixels; it divides the unit.
        bins: Number of orientations.
        eps: Of the normalisation.

    Shape:
        The values of a unit stand in the order (cell row, cell column, channel, bin).

    Source:
        N. Dalal and B. Triggs, CVPR 2005; C. Wei et al., *Masked Feature Prediction for Self-Supervised Visual
        Pre-Training*, CVPR 2022, arXiv 2112.09133.

    Example:
        >>> Hog(unit=16, cell=8)(torch.randn(1, 3, 32, 48)).shape
        torch.Size([1, 2, 3, 108])
    """

    def __init__(self, unit: int = 16, cell: int = 8, bins: int = 9, eps: float = 1e-5) -> None:
        super().__init__(unit)
        given = f"got {cell!r} and {bins!r}"
        self.cell, self.bins, self.eps = as_int(cell), as_int(bins), eps
        if self.cell is None or self.cell < 1 or self.unit % self.cell or self.bins is None or self.bins < 2:
            raise ValueError(f"cell must divide the unit of {self.unit} px and bins be an int of at least 2, {given}")
        if not (as_float(eps) or 0) > 0:
            raise ValueError(f"eps must be a number above 0, got {eps!r}")

    def extra_repr(self) -> str:
        return f"unit={self.unit}, cell={self.cell}, bins={self.bins}, eps={self.eps:g}"

    def channels(self, in_chans: int) -> int:
        return (self.unit // self.cell) ** 2 * in_chans * self.bins

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        images = _at_least_single(images)
        unit_grid(images.shape[2:], self.unit)
        down, right = _differences(images, 2), _differences(images, 3)
        magnitude = torch.hypot(down, right)
        place = torch.atan2(down, right) * (self.bins / math.pi) - 0.5  # in bins, from the first one's centre
        histogram = []
        for k in range(self.bins):
            distance = (place - k).remainder(self.bins)
            share = (1 - torch.minimum(distance, self.bins - distance)).clamp(min=0)
            histogram.append(F.avg_pool2d(magnitude * share, self.cell))
        cells = rearrange(histogram, "n b c h w -> b h w c n")
        cells = cells / (cells.square().sum(-1, keepdim=True) + self.eps**2).sqrt()
        n = self.unit // self.cell
        return rearrange(cells, "b (h p) (w q) c n -> b h w (p q c n)", p=n, q=n)


def _differences(images: Tensor, dim: int) -> Tensor:
    """Central differences along an axis, 0 at its ends."""
    n = images.shape[dim]
    result = torch.zeros_like(images)
    if n > 2:
        inner = images.narrow(dim, 2, n - 2) - images.narrow(dim, 0, n - 2)
        result.narrow(dim, 1, n - 2).copy_(inner)
    return result


def _at_least_single(images: Tensor) -> Tensor:
    """Images in float32 or better: moments of half precision are of no use."""
    if not images.is_floating_point():
        raise TypeError(f"images must be floats, got {images.dtype}")
    return images.to(torch.promote_types(images.dtype, torch.float32))


#: The targets of images by name; :class:`~backbones.pretraining.TargetGenerator` knows ``"features"``, too.
UNIT_TARGETS: dict[str, type[UnitTarget]] = {"pixels": Pixels, "dct": Dct, "hog": Hog}


def unit_target(name: str, **options: Any) -> UnitTarget:
    """A target by name.

    Raises:
        KeyError: There is none of that name.

    Example:
        >>> unit_target("dct", modes=4)
        Dct(unit=16, floor=0.004, eps=1e-06, normalise=True, modes=4)
    """
    if name not in UNIT_TARGETS:
        raise KeyError(f"target must be one of {sorted(UNIT_TARGETS)}, got {name!r}")
    return UNIT_TARGETS[name](**options)
