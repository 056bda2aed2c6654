"""The three losses of a pre-training in the cosine domain, and how well pairs find each other."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.remote_sensing.frequency import squared_radius
from spectral_ops import dctn, idctn
from spectral_ops.apply import no_autocast
from spectral_ops.scalars import as_float

__all__ = ["Contrast", "ContrastHead", "retrieved", "scored_error", "spectral_weight", "spread_within"]

Contrast = Literal["cosine", "infonce"]


def spectral_weight(size: tuple[int, int], slope: float = 2.0, rho0: float = 0.02) -> Tensor:
    r"""The weight of each cosine mode in the loss of the spectrum, with a mean of 1.

    .. math::  w(\rho) \propto (\rho + \rho_0)^{b/2}

    The power of natural images falls as :math:`\rho^{-b}`, b about 2: with this weight all frequencies count alike.

    Args:
        size: ``(H, W)``.
        slope: b; 0 weights nothing.
        rho0: What keeps the constant mode in.

    Returns:
        ``(H, W)``, float32.

    Example:
        >>> spectral_weight((2, 2), slope=2.0, rho0=0.5)
        tensor([[0.6236, 1.0646],
                [1.0646, 1.2472]])
    """
    weight = (squared_radius(size).sqrt() + rho0).pow(slope / 2)
    return (weight / weight.mean()).float()


def scored_error(
    predicted: Tensor, target: Tensor, scored: Tensor, hidden: Tensor | None, weight: Tensor
) -> tuple[Tensor, Tensor]:
    r"""The errors of predicted images in pixels and in the spectrum, of the scored modes alone.

    With e = y - x, on hidden pixels where pixels are hidden, D the orthonormal cosine transform and S the scored modes:

    .. math::

        L_{Spa} = \operatorname{mean} |D^{-1} S D e|, \qquad
        L_{Fre} = \operatorname{mean}_S w(\rho) |D e|.

    Args:
        predicted, target: ``(B, C, H, W)``.
        scored: Bool, ``(B, H, W)``.
        hidden: Bool, ``(B, 1, H, W)``, or None.
        weight: ``(H, W)``.

    Returns:
        Both, ``(B,)``, in float32 at least, also under autocast; 0 for images without a scored mode.
    """
    dtype = torch.promote_types(target.dtype, torch.float32)
    with no_autocast(target.device.type):
        error = predicted.to(dtype) - target.to(dtype)
        share: Tensor | float = 1.0
        if hidden is not None:
            error = error.where(hidden, 0.0)
            share = hidden.to(dtype).mean((1, 2, 3)).clamp(min=torch.finfo(dtype).tiny)
        modes = scored[:, None].to(dtype)
        spectrum = dctn(error, dims=(-2, -1)) * modes
        counted = modes.sum((1, 2, 3)).clamp(min=1) * error.shape[1]
        spectral = (weight.to(dtype) * spectrum.abs()).sum((1, 2, 3)) / counted
        if not bool(scored.all()):
            error = idctn(spectrum, dims=(-2, -1))
        spatial = error.abs().mean((1, 2, 3)) / share
    return spatial, spectral


class ContrastHead(nn.Module):
    r"""How far the features of the modalities of one place are from each other; thrown away after the training.

    ``"infonce"``: with z the features behind a small network, of unit length, the mean over pairs and both directions
    of

    .. math::  -\log \frac{\exp(z_i \cdot z'_i / \tau)}{\sum_j \exp(z_i \cdot z'_j / \tau)},

    where j are the pairs of the batch that show the same kind of view. ``"cosine"``: 1 - cos(q(z), z'), both ways, with
    q a small network and no gradient through z'; without the stop-gradient, plainly 1 - cos(z, z'), as in the paper,
    which can collapse.

    Args:
        channels: Of the features.
        kind: ``"infonce"`` or ``"cosine"``.
        temperature: :math:`\tau`.
        stop_gradient: Of ``"cosine"``.
        width: Of the compared vectors of ``"infonce"``.

    Raises:
        ValueError: An argument does not fit.
    """

    def __init__(
        self,
        channels: int,
        kind: Contrast = "infonce",
        *,
        temperature: float = 0.07,
        stop_gradient: bool = True,
        width: int = 128,
    ) -> None:
        super().__init__()
        if kind not in get_args(Contrast):
            raise ValueError(f"contrast must be one of {get_args(Contrast)}, got {kind!r}")
        if not (as_float(temperature) or 0) > 0:
            raise ValueError(f"temperature must be a positive number, got {temperature!r}")
        self.kind, self.temperature, self.stop_gradient = kind, float(temperature), stop_gradient
        self.net: nn.Module = nn.Identity()
        if kind == "infonce" or stop_gradient:
            out = width if kind == "infonce" else channels
            self.net = nn.Sequential(nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, out))

    def extra_repr(self) -> str:
        more = f"temperature={self.temperature:g}" if self.kind == "infonce" else f"stop_gradient={self.stop_gradient}"
        return f"{self.kind!r}, {more}"

    def compared(self, features: Tensor) -> Tensor:
        """The vectors of unit length whose angles count, ``(N, C) -> (N, width)``, in float32 at least."""
        z = self.net(features) if self.kind == "infonce" else features
        return F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=-1)

    def forward(self, first: Tensor, second: Tensor, kinds: Tensor) -> Tensor:
        """The loss of pairs.

        Args:
            first, second: Features ``(N, C)`` of two modalities, row by row of the same place.
            kinds: Of the views, ``(N,)``.
        """
        a, b = self.compared(first), self.compared(second)
        if self.kind == "infonce":
            with no_autocast(a.device.type):
                logits = (a @ b.T / self.temperature).masked_fill(kinds[:, None] != kinds, -torch.inf)
                own = torch.arange(len(a), device=a.device)
                return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        if not self.stop_gradient:
            return 1 - (a * b).sum(-1).mean()
        return 1 - (self._towards(first, b) + self._towards(second, a)) / 2

    def _towards(self, features: Tensor, other: Tensor) -> Tensor:
        q = self.net(features).to(other.dtype)
        return (F.normalize(q, dim=-1) * other.detach()).sum(-1).mean()


@torch.no_grad()
def retrieved(first: Tensor, second: Tensor, kinds: Tensor) -> Tensor:
    """The share of vectors whose nearest one in the other modality, among those of their kind, is their partner.

    Both directions count. Alone of its kind a vector does not count; NaN where none does.

    Args:
        first, second: Vectors of unit length ``(N, C)``, row by row of the same place.
        kinds: Of the views, ``(N,)``.

    Example:
        >>> z = torch.eye(3)
        >>> retrieved(z, z[[0, 2, 1]], torch.zeros(3))
        tensor(0.3333)
    """
    same = kinds[:, None] == kinds
    similar = (first.float() @ second.float().T).masked_fill(~same, -torch.inf)
    own = torch.arange(len(kinds), device=first.device)
    found = ((similar.argmax(1) == own).float() + (similar.argmax(0) == own).float()) / 2
    return found[same.sum(1) > 1].mean()


@torch.no_grad()
def spread_within(features: Tensor, groups: Tensor) -> Tensor:
    r"""How different vectors of a group are: :math:`\sqrt{C}` times the mean deviation of their unit vectors.

    About 1 for random directions, 0 where all are the same; NaN where no group has two.

    Args:
        features: ``(N, C)``.
        groups: Ints, ``(N,)``.
    """
    unit = F.normalize(features.float(), dim=-1)
    found = [unit[groups == group] for group in groups.unique()]
    spreads = [len(each) * each.std(0, correction=0).mean() for each in found if len(each) > 1]
    count = sum(len(each) for each in found if len(each) > 1)
    return (
        torch.stack(spreads).sum() / count * features.shape[1] ** 0.5 if spreads else features.new_full((), torch.nan)
    )
