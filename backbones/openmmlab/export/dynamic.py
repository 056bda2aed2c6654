"""Layers whose windows freeze when they are traced, as others that follow the size of each image."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AveragePool", "Enlarge", "averaging_matrix", "with_dynamic_sizes"]


def averaging_matrix(length: int, bins: int, like: Tensor) -> Tensor:
    r"""The matrix ``(bins, length)`` by which adaptive average pooling multiplies a side.

    .. math:: A_{ij} = \frac{1}{e_i - s_i} \text{ for } s_i \le j < e_i,\quad
        s_i = \lfloor i n / b \rfloor,\ e_i = \lceil (i + 1) n / b \rceil

    for b bins of n pixels, and 0 elsewhere.

    Args:
        length: n, which may be symbolic.
        bins: b.
        like: A tensor of the type and on the device of the matrix.

    Example:
        >>> averaging_matrix(5, 2, torch.zeros(1))
        tensor([[0.3333, 0.3333, 0.3333, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.3333, 0.3333, 0.3333]])
    """
    index = torch.arange(bins, device=like.device)
    start, end = index * length // bins, ((index + 1) * length + bins - 1) // bins
    pixel = torch.arange(length, device=like.device)
    inside = (pixel >= start[:, None]) & (pixel < end[:, None])
    return inside.to(like.dtype) / (end - start)[:, None].to(like.dtype)


class AveragePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as a product with two matrices.

    Args:
        size: Height and width of the output.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (averaging_matrix(n, b, x) for n, b in zip(x.shape[-2:], self.size, strict=True))
        return rows @ x @ columns.T


class Enlarge(nn.Module):
    """mmseg's ``Upsample`` by a whole factor.

    Args:
        factor: Height and width are multiplied by it.
        mode: As in ``torch.nn.functional.interpolate``.
        align_corners: Likewise.
    """

    def __init__(self, factor: int, mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        size = (self.factor * height, self.factor * width)
        return F.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)


def with_dynamic_sizes(model: nn.Module) -> nn.Module:
    """A copy of a model in evaluation mode whose pooling and enlarging layers follow the size of each image.

    Args:
        model: Any model; it shares no parameters with the copy.

    Example:
        >>> pool = with_dynamic_sizes(nn.Sequential(nn.AdaptiveAvgPool2d(3)))
        >>> x = torch.randn(1, 2, 7, 10)
        >>> torch.allclose(pool(x), nn.functional.adaptive_avg_pool2d(x, 3), atol=1e-6)
        True
    """
    from mmseg.models.utils import Upsample

    model = copy.deepcopy(model).eval().requires_grad_(False)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size = child.output_size
                pair = (size, size) if isinstance(size, int) else tuple(size)
                if None not in pair:
                    setattr(parent, name, AveragePool(pair))
            elif isinstance(child, Upsample) and not child.size and float(child.scale_factor).is_integer():
                setattr(parent, name, Enlarge(int(child.scale_factor), child.mode, child.align_corners))
    return model
