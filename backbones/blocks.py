"""The layers of the hierarchical network: stem, downsampling, block. Channels-last maps in and out.

Each takes ``visible``, a mask of the map it works on, by which masked pre-training hides cells: hidden cells are zero
wherever a layer mixes cells, so nothing of them is seen. Without a mask nothing is computed differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from timm.layers import DropPath, LayerScale
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spectral_ops import SpectralMixer, SpectralOperator
from spectral_ops.linear import call
from spectral_ops.mixer import shown
from spectral_ops.recompute import linear_behind
from spectral_ops.torch_internals import hooked, transforming

__all__ = [
    "MIN_IMAGE_SIZE",
    "NORM_PLACEMENTS",
    "Downsample",
    "Mlp",
    "NormPlacement",
    "SpectralBlock",
    "Stem",
    "halved",
    "plain_gelu",
    "visible_at_half_size",
]

#: The smallest image side: the last of four stages, at stride 32, still has one cell.
MIN_IMAGE_SIZE = 32

NormPlacement = Literal["pre", "post"]
NORM_PLACEMENTS: tuple[NormPlacement, ...] = ("pre", "post")


def halved(size: int) -> int:
    """The size after a 3x3 convolution of stride 2 and padding 1."""
    return (size + 1) // 2


def visible_at_half_size(visible: Tensor) -> Tensor:
    """The mask of a map of half the size: a cell is visible where any of the cells it covers is.

    Args:
        visible: Bool, ``(B, H, W, 1)``.

    Returns:
        Bool, ``(B, H', W', 1)`` with the sizes of :func:`halved`.
    """
    cells = F.max_pool2d(visible.permute(0, 3, 1, 2).float(), 2, 2, ceil_mode=True)
    return cells.permute(0, 2, 3, 1) > 0


def _checked(x: Tensor, in_chans: int) -> Tensor:
    """The images, if they are images of the right kind. One node of a torch.fx graph."""
    if x.ndim != 4 or x.shape[1] != in_chans:
        raise ValueError(f"images must have shape (B, {in_chans}, H, W), got {tuple(x.shape)}")
    if min(x.shape[2], x.shape[3]) < MIN_IMAGE_SIZE:
        raise ValueError(f"images must be at least {MIN_IMAGE_SIZE} px high and wide, got {tuple(x.shape)}")
    return x


fx.wrap("_checked")


class Stem(nn.Module):
    """Two strided convolutions, ``(B, in_chans, H, W) -> (B, H/4, W/4, C)``: the map of the first stage.

    Raises:
        ValueError: The images have other channels, or are smaller than 32 px.
    """

    def __init__(self, in_chans: int, channels: int) -> None:
        super().__init__()
        self.in_chans = in_chans
        self.conv1 = nn.Conv2d(in_chans, channels // 2, 3, stride=2, padding=1)
        self.norm1 = nn.LayerNorm(channels // 2, eps=1e-6)
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Images ``(B, in_chans, H, W)`` to a map; ``visible`` is a bool mask ``(B, 1, H, W)`` of the pixels."""
        x = _checked(x, self.in_chans)
        if visible is not None:
            x = torch.where(visible, x, 0.0)  # a choice: hidden pixels may be anything, NaN too
        visible = None if visible is None else visible_at_half_size(visible.permute(0, 2, 3, 1))
        # The only change of layout in the network; the convolutions keep channels-last from here on. vmap has none.
        if torch.compiler.is_compiling() or not transforming():
            x = x.contiguous(memory_format=torch.channels_last)
        x = shown(self.act(self.norm1(self.conv1(x).permute(0, 2, 3, 1))), visible)
        x = self.norm2(self.conv2(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return x if visible is None else shown(x, visible_at_half_size(visible))


class Downsample(nn.Module):
    """Strided convolution and norm between stages, ``(B, H, W, C) -> (B, H/2, W/2, C')``."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


def plain_gelu(act: nn.Module) -> bool:
    """Whether an activation is the exact GELU and nothing else."""
    return type(act) is nn.GELU and act.approximate == "none" and not hooked(act)


class Mlp(nn.Module):
    """Two linears with a GELU between, on channels-last maps."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = call(self.fc1, x)
        return linear_behind(self.fc2, self.act, x) if plain_gelu(self.act) else call(self.fc2, self.act(x))


class SpectralBlock(nn.Module):
    r"""A residual pair: spectral mixer, then MLP.

    ``norm_placement="pre"``: :math:`x \leftarrow x + f(\mathrm{LN}\,x)`; ``"post"``:
    :math:`x \leftarrow x + \gamma \odot \mathrm{LN}(f(x))`, both with drop path on the branch.

    Args:
        channels: C.
        operator: The spectral operator of the mixer, over ``dims=(1, 2)``, or a mixer made around one, a
            :class:`~spectral_ops.SpectralMixer` or a variant of it.
        mlp_ratio: Hidden width of the MLP over C.
        norm_placement: ``"pre"`` or ``"post"``.
        layer_scale: Initial value of the learnable per-channel scale of each branch; None for no scale.
        drop_path: Probability of dropping a branch for a sample in training.

    Example:
        >>> from spectral_ops import Heat
        >>> block = SpectralBlock(32, Heat(diffusivity=0.5, dims=(1, 2)))
        >>> block(torch.randn(2, 14, 20, 32)).shape
        torch.Size([2, 14, 20, 32])
    """

    def __init__(
        self,
        channels: int,
        operator: SpectralOperator | SpectralMixer,
        *,
        mlp_ratio: float = 4.0,
        norm_placement: NormPlacement = "pre",
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if norm_placement not in NORM_PLACEMENTS:
            raise ValueError(f"norm_placement must be one of {NORM_PLACEMENTS}, got {norm_placement!r}")
        self.pre_norm = norm_placement == "pre"
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.mixer = operator if isinstance(operator, SpectralMixer) else SpectralMixer(channels, operator)
        self.scale1 = LayerScale(channels, layer_scale) if layer_scale is not None else nn.Identity()
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, int(channels * mlp_ratio))
        self.scale2 = LayerScale(channels, layer_scale) if layer_scale is not None else nn.Identity()
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def shares(self, sizes: Sequence[int] | None = None) -> tuple[str, ...]:
        """Which learned maps of its stage it takes, see :meth:`spectral_ops.SpectralMixer.shares`."""
        return self.mixer.shares(sizes)

    def forward(self, x: Tensor, *, visible: Tensor | None = None, **maps: Tensor) -> Tensor:
        """The map ``(B, H, W, C)`` after both branches.

        Args:
            x: The map before.
            visible: Bool mask ``(B, H, W, 1)``; cells where it is False are zero behind each branch.
            **maps: The learned maps named by :meth:`shares`, for the mixer.
        """
        if visible is not None:
            maps = {**maps, "visible": visible}
        if self.pre_norm:
            x = shown(x + self.drop_path(self.scale1(self.mixer(self.norm1(x), **maps))), visible)
            return shown(x + self.drop_path(self.scale2(self.mlp(self.norm2(x)))), visible)
        x = shown(x + self.drop_path(self.scale1(self.norm1(self.mixer(x, **maps)))), visible)
        return shown(x + self.drop_path(self.scale2(self.norm2(self.mlp(x)))), visible)
