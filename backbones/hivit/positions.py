"""Tables that say where a patch is: absolute positions, and biases of attention by relative position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import register_notrace_module
from torch import Tensor, nn

from spectral_ops.apply import no_autocast
from spectral_ops.torch_internals import jit_tracing, refuse_tracing_into

__all__ = ["PositionTable", "RelativeBias", "resize_table", "sine_cosine"]

#: Of cubic convolution, as ``torch.nn.functional.interpolate`` has it.
_A = -0.75


def resize_table(table: Tensor, sizes: Sequence[int], extra: float = 0.0) -> Tensor:
    r"""Carry a table to another grid by cubic convolution along each axis.

    Row i of the new grid is read at row :math:`(i + 1/2)\,H / (H' + \epsilon) - 1/2` of the old one, columns likewise,
    with the kernel and the repeated borders of ``F.interpolate(mode="bicubic", align_corners=False)``.

    Args:
        table: ``(H, W, C)``.
        sizes: The new ``(H', W')``; ints, or what stands for them while a graph is made.
        extra: :math:`\epsilon`; 0.1 where HiViT resizes positions, which in PyTorch's terms is the scale factor
            ``(H' + 0.1) / H``. On its own grid the table is what it is, whatever this says.

    Returns:
        ``(H', W', C)`` in the table's dtype, computed in float32 at least.

    Example:
        >>> table = torch.randn(14, 14, 8)
        >>> resize_table(table, (20, 11), extra=0.1).shape, resize_table(table, (14, 14), extra=0.1) is table
        (torch.Size([20, 11, 8]), True)
    """
    height, width = sizes
    symbolic = torch.compiler.is_compiling() or jit_tracing()  # there a comparison would fix the sizes
    if not symbolic and (height, width) == tuple(table.shape[:2]):
        return table
    values = table.to(torch.promote_types(table.dtype, torch.float32))
    rows, columns = (torch.arange(n, device=values.device, dtype=values.dtype) for n in (height, width))
    sides = table.shape[0], table.shape[1]
    counts = rows[-1] + 1, columns[-1] + 1
    # As tensors, so that one graph serves the table's own grid, too: there the weights are exactly 0 and 1.
    added = ((counts[0] != sides[0]) | (counts[1] != sides[1])).to(values.dtype) * extra
    down, across = (
        _cubic_weights((index + 0.5) * side / (count + added) - 0.5, side)
        for index, count, side in zip((rows, columns), counts, sides, strict=True)
    )
    with no_autocast(values.device.type):
        resized = torch.einsum("hi,iwc->hwc", down, torch.einsum("wj,ijc->iwc", across, values))
    return resized.to(table.dtype)


def _cubic_weights(source: Tensor, side: int) -> Tensor:
    """The matrix ``(len(source), side)`` that reads a column of ``side`` values at fractional places."""
    first = source.floor()
    t = source - first
    near, far = [t, 1 - t], [t + 1, 2 - t]  # distances of the taps before and behind the place
    inner = [((_A + 2) * d - (_A + 3)) * d * d + 1 for d in near]
    outer = [((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A for d in far]
    weights = torch.stack([outer[0], inner[0], inner[1], outer[1]], -1)
    taps = (first[:, None] + torch.arange(-1, 3, device=source.device, dtype=source.dtype)).clamp(0, side - 1)
    hit = taps[:, :, None] == torch.arange(side, device=source.device, dtype=source.dtype)
    return (weights[:, :, None] * hit.to(source.dtype)).sum(1)


def sine_cosine(sizes: Sequence[int], channels: int, dtype: torch.dtype | None = None) -> Tensor:
    r"""The table of sines and cosines that masked autoencoders start with.

    A coordinate p gives :math:`\sin(p\,\omega_k)`, then :math:`\cos(p\,\omega_k)` with
    :math:`\omega_k = 10^{-16 k / C}`, k = 0 .. C/4 - 1; the first half of the channels holds the column's, the second
    the row's.

    Args:
        sizes: ``(H, W)``.
        channels: C, a multiple of 4.
        dtype: Of the result, the default one by default; computed in float64, on the CPU.

    Returns:
        ``(H, W, C)``, on the CPU.

    Example:
        >>> sine_cosine((2, 3), 4)[1, 2]  # of column 2, then of row 1
        tensor([ 0.9093, -0.4161,  0.8415,  0.5403])
    """
    if channels < 4 or channels % 4:
        raise ValueError(f"channels must be a multiple of 4 for a table of sines and cosines, got {channels}")
    omega = 10000.0 ** (-4 * torch.arange(channels // 4, dtype=torch.float64, device="cpu") / channels)

    def waves(count: int) -> Tensor:
        angles = torch.arange(count, dtype=torch.float64, device="cpu")[:, None] * omega
        return torch.cat([angles.sin(), angles.cos()], -1)

    height, width = sizes
    rows, columns = waves(height)[:, None], waves(width)[None]
    table = torch.cat([columns.expand(height, -1, -1), rows.expand(-1, width, -1)], -1)
    return table.to(dtype or torch.get_default_dtype())


class PositionTable(nn.Module):
    """A learnable vector for every place of a grid, resized to other grids by :func:`resize_table` with 0.1.

    Args:
        sizes: ``(H, W)`` it is stored for.
        channels: C.
        start: ``"normal"``, with standard deviation 0.02, or ``"sincos"``, see :func:`sine_cosine`.

    Example:
        >>> PositionTable((14, 14), 32)(10, 16).shape  # row by row
        torch.Size([1, 160, 32])
    """

    def __init__(self, sizes: Sequence[int], channels: int, start: str = "normal") -> None:
        super().__init__()
        self.start = start
        self.weight = nn.Parameter(torch.empty(*sizes, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fill the table anew."""
        if self.start == "normal":
            nn.init.trunc_normal_(self.weight, std=0.02)
            return
        with torch.no_grad():
            self.weight.copy_(sine_cosine(self.weight.shape[:2], self.weight.shape[2], self.weight.dtype))

    def forward(self, height: int, width: int) -> Tensor:
        """The vectors of a grid, ``(1, height * width, C)``."""
        refuse_tracing_into(self, height, width)
        # A copy: a view of a parameter asks for gradients even under no_grad, which stops torch's counter of work.
        return resize_table(self.weight, (height, width), extra=0.1).flatten(0, 1).unsqueeze(0).clone()

    def extra_repr(self) -> str:
        height, width, channels = self.weight.shape
        return f"sizes=({height}, {width}), channels={channels}"


class RelativeBias(nn.Module):
    r"""A learnable bias of attention for every relative position, at first zero.

    Query :math:`(y, x)` and key :math:`(y', x')` of an H x W grid share row
    :math:`(y - y' + H - 1)(2W - 1) + (x - x' + W - 1)` of the table. Of other grids, it is resized as an image of
    (2H - 1) x (2W - 1) by :func:`resize_table`.

    Args:
        sizes: ``(H, W)`` it is stored for.
        heads: Of the attention.

    Example:
        >>> RelativeBias((14, 14), heads=8)(10, 16).shape
        torch.Size([8, 160, 160])
    """

    def __init__(self, sizes: Sequence[int], heads: int) -> None:
        super().__init__()
        height, width = sizes
        self.sizes = height, width
        self.table = nn.Parameter(torch.empty((2 * height - 1) * (2 * width - 1), heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make it zero."""
        nn.init.zeros_(self.table)

    def forward(self, height: int, width: int) -> Tensor:
        """The biases of a grid, ``(heads, height * width, height * width)``."""
        own = self.table.unflatten(0, (2 * self.sizes[0] - 1, 2 * self.sizes[1] - 1))
        table = resize_table(own, (2 * height - 1, 2 * width - 1))
        rows, columns = (torch.arange(n, device=table.device) for n in (height, width))
        down = rows[:, None] - rows[None] + height - 1
        across = columns[:, None] - columns[None] + width - 1
        index = down[:, None, :, None] * (2 * width - 1) + across[None, :, None, :]
        index = index.flatten(2, 3).flatten(0, 1)
        return table.flatten(0, 1)[index].permute(2, 0, 1)

    def extra_repr(self) -> str:
        return f"sizes={self.sizes}, heads={self.table.shape[1]}"


# Their sizes come from the image: torch.fx keeps them whole.
register_notrace_module(PositionTable)
register_notrace_module(RelativeBias)
