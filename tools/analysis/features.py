"""What features are made of: their spectra, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spectral_ops import dctn, laplacian_eigenvalues


@dataclass(frozen=True)
class Spectrum:
    """Amplitude of maps by wave number.

    Attributes:
        waves: Mean wave number of each ring, in units of pi per cell: 1 is the finest pattern along one axis.
        log_amplitude: Natural logarithm of the mean amplitude of the ring's modes, over channels and images.
    """

    waves: Tensor
    log_amplitude: Tensor

    @property
    def relative(self) -> Tensor:
        """Log amplitude less that of the first ring, the coarsest patterns."""
        return self.log_amplitude - self.log_amplitude[0]


@torch.no_grad()
def spectrum(maps: Tensor, rings: int = 12) -> Spectrum:
    r"""The radial spectrum of maps.

    With :math:`\hat u` the orthonormal cosine transform of each channel, the logarithm of the mean of
    :math:`|\hat u_{nm}|` over images, channels and the modes in a ring: of equal width are the rings of the wave number
    :math:`\sqrt{\lambda_{nm}} / \pi = \sqrt{(n / H)^2 + (m / W)^2}` up to 1. The mean mode, (0, 0), is left out. Unlike
    Fourier's modes cosines see no edge where the opposite sides of a map differ. White noise has a flat spectrum.

    Args:
        maps: ``(B, C, H, W)``.
        rings: Their number; those without a mode are left out, so that small maps have fewer.

    Raises:
        ValueError: ``maps`` have not four dimensions or only one cell.

    Source:
        The relative log amplitude of feature maps is that of N. Park and S. Kim, *How Do Vision Transformers Work?*,
        ICLR 2022, arXiv 2202.06709, there with Fourier's modes along one diagonal.

    Example:
        >>> found = spectrum(torch.randn(4, 8, 32, 32, generator=torch.Generator().manual_seed(0)), rings=4)
        >>> found.waves.shape, bool(found.relative.abs().max() < 0.1)
        (torch.Size([4]), True)
    """
    if maps.ndim != 4 or maps.shape[-1] * maps.shape[-2] < 2:
        raise ValueError(f"maps must be (B, C, H, W) of more than one cell, got {tuple(maps.shape)}")
    amplitude = dctn(maps.double().cpu(), dims=(-2, -1)).abs().mean((0, 1)).flatten()
    waves = laplacian_eigenvalues(tuple(maps.shape[-2:]), dtype=torch.float64).sqrt().flatten() / torch.pi
    ring = (waves * rings).ceil().long() - 1  # the mean mode's is -1
    kept = [ring == i for i in range(rings) if bool((ring == i).any())]
    mean_waves, means = (torch.stack([values[k].mean() for k in kept]) for values in (waves, amplitude))
    return Spectrum(mean_waves, means.clamp(min=torch.finfo(torch.float32).tiny).log())


@torch.no_grad()
def stage_spectra(net: Callable[[Tensor], Any], images: Tensor, rings: int = 12) -> list[Spectrum]:
    """The spectrum of each map that a backbone returns.

    Args:
        net: From images to maps ``(B, C, H, W)``, in evaluation mode.
        images: ``(B, C, H, W)``, as the network takes them.
        rings: See :func:`spectrum`.

    Raises:
        ValueError: The network returns no maps.
    """
    output = net(images)
    maps = output if isinstance(output, Sequence) else [output]
    return [spectrum(each, rings) for each in maps]
