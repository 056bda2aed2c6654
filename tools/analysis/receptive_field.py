"""The effective receptive field: which pixels the centre of a backbone's last map depends on, and how much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

LEVELS = (0.2, 0.3, 0.5, 0.99)


@dataclass(frozen=True)
class Extent:
    """What holds a part of a field.

    Attributes:
        side: Side of the smallest square around the centre that holds it, over the root of the image's area; 1 at most.
        area: The smallest share of the image's pixels, wherever they lie, that holds it.
    """

    side: float
    area: float


def receptive_field(net: Callable[[Tensor], Any], images: Tensor, batch: int = 8) -> Tensor:
    r"""Mean absolute gradient of the last map's centre with respect to every pixel.

    .. math::  F(p) = \frac{1}{N C} \sum_{n, c} \Big| \frac{\partial}{\partial x_{n c p}} \sum_k |y_{n k q}| \Big|

    for images x with C channels, last map y with channels k and its centre q, which is cell ``(H // 2, W // 2)``. The
    plain sum over k would not do: behind a LayerNorm it is constant. A network in training mode is put into evaluation
    mode meanwhile.

    Args:
        net: From images to maps ``(B, K, H, W)``, the last of them the one that counts, or to one such map.
        images: ``(N, C, H, W)``, as the network takes them: normalised.
        batch: Images at a time.

    Returns:
        The field ``(H, W)``, on the CPU.

    Raises:
        ValueError: ``images`` or the network's output are not maps.

    Source:
        W. Luo et al., *Understanding the Effective Receptive Field in Deep Convolutional Neural Networks*, NeurIPS
        2016, arXiv 1701.04128. X. Ding et al., *Scaling Up Your Kernels to 31x31*, CVPR 2022, arXiv 2203.06717, sum the
        positive channels: the same where maps are positive, and half of it where channels add up to zero.

    Example:
        >>> field = receptive_field(nn.Conv2d(3, 4, 3, padding=1), torch.randn(2, 3, 9, 9))
        >>> (field > 0).nonzero().amin(0).tolist(), (field > 0).nonzero().amax(0).tolist()
        ([3, 3], [5, 5])
    """
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images must be (N, C, H, W), at least one, got {tuple(images.shape)}")
    training = isinstance(net, nn.Module) and net.training
    if training:
        net.eval()
    field = torch.zeros(images.shape[-2:], dtype=torch.float64)
    try:
        for part in images.split(batch):
            pixels = part.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(_centre(_last_map(net(pixels))), pixels)
            field += gradient.abs().double().mean(1).sum(0).cpu()
    finally:
        if training:
            net.train()
    return field / len(images)


def _last_map(output: Any) -> Tensor:
    last = output[-1] if isinstance(output, (list, tuple)) and output else output
    if not isinstance(last, Tensor) or last.ndim != 4:
        given = tuple(last.shape) if isinstance(last, Tensor) else type(last).__name__
        raise ValueError(f"the network must return maps (B, K, H, W), its last output is {given}")
    return last


def _centre(output: Tensor) -> Tensor:
    return output[:, :, output.shape[2] // 2, output.shape[3] // 2].abs().sum()


def extents(field: Tensor, levels: Sequence[float] = LEVELS, stride: int = 1) -> dict[float, Extent]:
    """How far a field reaches: what holds 20, 30, 50 and 99 % of its sum.

    Args:
        field: ``(H, W)``, not negative.
        levels: Parts of the sum, above 0 and up to 1.
        stride: Pixels per cell of the map whose cell ``(H // 2, W // 2)`` is the centre.

    Raises:
        ValueError: The field is zero or negative somewhere, or a level is out of range.

    Example:
        >>> found = extents(torch.ones(10, 10), (0.25, 1.0))
        >>> found[0.25].area, found[1.0].area
        (0.25, 1.0)
    """
    if field.ndim != 2 or not bool((field >= 0).all()) or not bool(field.sum() > 0):
        raise ValueError("field must be (H, W), nowhere negative and not zero")
    if wrong := [level for level in levels if not 0 < level <= 1]:
        raise ValueError(f"levels must be above 0 and up to 1, got {wrong[0]}")
    height, width = field.shape
    share = field.double() / field.double().sum()
    rows, columns = (
        (torch.arange(n, dtype=torch.float64) + 0.5 - (n // stride // 2 + 0.5) * stride).abs() for n in (height, width)
    )
    distance = torch.maximum(rows[:, None], columns[None, :]).flatten()  # half the side of the square that reaches it
    nearest = distance.argsort(stable=True)
    held = share.flatten()[nearest].cumsum(0)
    largest = share.flatten().sort(descending=True).values.cumsum(0)
    found = {}
    for level in levels:
        reach = distance[nearest][_first(held, level)]
        area = (_first(largest, level) + 1) / share.numel()
        found[level] = Extent(min(1.0, float(2 * reach + 1) / (height * width) ** 0.5), area)
    return found


def _first(held: Tensor, level: float) -> int:
    """Where a growing sum reaches a level, up to rounding."""
    return min(int((held < level - 1e-9).sum()), len(held) - 1)
