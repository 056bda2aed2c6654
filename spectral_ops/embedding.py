"""Learnable spectral embeddings: one vector per cosine mode, usable at any resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_ops._checks import check_floating, check_sizes
from spectral_ops.torch_internals import jit_tracing, refuse_tracing_into

__all__ = ["RESIZE_RULES", "ResizeRule", "SpectralEmbedding", "resize_embedding"]

ResizeRule = Literal["bicubic", "pad"]
RESIZE_RULES: tuple[ResizeRule, ...] = ("bicubic", "pad")


def resize_embedding(values: Tensor, sizes: Sequence[int], rule: ResizeRule = "bicubic") -> Tensor:
    """Carry values attached to the modes of one grid over to another.

    Args:
        values: ``(H, W, C)``, one vector per cosine mode.
        sizes: The new ``(H', W')``.
        rule: ``"bicubic"`` interpolates, so that a value keeps its normalised frequency n / H; ``"pad"`` appends zeros
            at the high end (or cuts it off), so that a value keeps its mode index n.

    Returns:
        ``(H', W', C)``.

    Example:
        >>> values = torch.randn(7, 7, 32)
        >>> resize_embedding(values, (10, 16)).shape
        torch.Size([10, 16, 32])
        >>> bool(torch.equal(resize_embedding(values, (10, 16), "pad")[:7, :7], values))
        True
    """
    check_floating(values, "values")
    if values.ndim != 3:
        raise ValueError(f"values must have shape (H, W, C), got {tuple(values.shape)}")
    if rule not in RESIZE_RULES:
        raise ValueError(f"rule must be one of {RESIZE_RULES}, got {rule!r}")
    sizes = check_sizes(sizes)
    if len(sizes) != 2:
        raise ValueError(f"sizes must be (H, W), got {sizes}")
    height, width = sizes
    if not (torch.compiler.is_compiling() or jit_tracing()) and tuple(values.shape[:2]) == sizes:
        return values  # as both rules do, but a comparison would fix symbolic sizes
    if rule == "pad":
        return F.pad(values, [0, 0, 0, width, 0, height])[:height, :width]
    grid = values.permute(2, 0, 1).unsqueeze(0)
    grid = F.interpolate(grid, size=[height, width], mode="bicubic", align_corners=False)
    return grid.squeeze(0).permute(1, 2, 0)


class SpectralEmbedding(nn.Module):
    """A learnable vector per cosine mode (vHeat's frequency embedding), resized to the grid it is asked for.

    Args:
        sizes: ``(H0, W0)`` it is stored at.
        channels: C.
        rule: How it is resized, see :func:`resize_embedding`.

    Example:
        >>> SpectralEmbedding((7, 7), 32)((10, 16)).shape
        torch.Size([10, 16, 32])
    """

    def __init__(self, sizes: Sequence[int], channels: int, rule: ResizeRule = "bicubic") -> None:
        super().__init__()
        if rule not in RESIZE_RULES:
            raise ValueError(f"rule must be one of {RESIZE_RULES}, got {rule!r}")
        self.rule: ResizeRule = rule
        sizes = check_sizes(sizes)
        if len(sizes) != 2:
            raise ValueError(f"sizes must be (H, W), got {sizes}")
        self.weight = nn.Parameter(torch.empty(*sizes, *check_sizes(channels, "channels")))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors anew, with standard deviation 0.02."""
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, sizes: Sequence[int]) -> Tensor:
        refuse_tracing_into(self, sizes)
        # Interpolation runs in float32 at least: the CPU has no bicubic kernel for every half dtype.
        weight = self.weight if self.weight.dtype == torch.float64 else self.weight.float()
        return resize_embedding(weight, sizes, self.rule)

    def extra_repr(self) -> str:
        height, width, channels = self.weight.shape
        return f"sizes=({height}, {width}), channels={channels}, rule={self.rule!r}"
