"""Modules that compute a quantity: learnable with its range kept, or predicted from an embedding or the input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_ops._checks import check_quantity
from spectral_ops.grid import Grid
from spectral_ops.linear import call_in_own_dtype
from spectral_ops.scalars import as_float

__all__ = ["Bounded", "Constant", "FromEmbedding", "InputRouter", "Softmax", "Softplus", "SoftplusEmbedding"]


class Softplus(nn.Module):
    """A learnable quantity that stays positive: ``softplus(raw)``.

    Args:
        initial: Its value before training, > 0.
        shape: Of the parameter, broadcastable to ``(*sizes, C)``: ``()`` for one value, ``(C,)`` for one per channel.

    Example:
        >>> from spectral_ops import Heat
        >>> heat = Heat(diffusivity=Softplus(0.3, (16,)))
        >>> heat(torch.randn(2, 16, 8, 8)).shape, heat.gain((8, 8)).shape
        (torch.Size([2, 16, 8, 8]), torch.Size([8, 8, 16]))
    """

    minimum = 0.0

    def __init__(self, initial: float = 1.0, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        check_quantity("initial", initial, 0.0, strict=True)
        self.initial = float(initial)
        self.raw = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Go back to the initial value."""
        self.raw.fill_(self.initial + math.log(-math.expm1(-self.initial)))

    def forward(self, grid: Grid) -> Tensor:
        return F.softplus(self.raw.to(grid.dtype))

    def extra_repr(self) -> str:
        return f"shape={tuple(self.raw.shape)}"


class Bounded(nn.Module):
    """A learnable quantity that stays between two values: ``low + (high - low) * sigmoid(raw)``.

    Args:
        initial: Its value before training, strictly between ``low`` and ``high``.
        low, high: The range.
        shape: Of the parameter, broadcastable to ``(*sizes, C)``.

    Example:
        >>> from spectral_ops import FractionalHeat
        >>> tails = FractionalHeat(order=Bounded(0.7, 0.25, 1.0, (16,)))
        >>> tails(torch.randn(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """

    def __init__(self, initial: float, low: float, high: float, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        for name, value in (("initial", initial), ("low", low), ("high", high)):
            check_quantity(name, value, None)
        if not low < initial < high:
            raise ValueError(f"initial must lie strictly between low={low:g} and high={high:g}, got {initial:g}")
        self.low, self.high = float(low), float(high)
        self.minimum = self.low
        self.initial = float(initial)
        self.raw = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Go back to the initial value."""
        share = (self.initial - self.low) / (self.high - self.low)
        self.raw.fill_(math.log(share) - math.log1p(-share))

    def forward(self, grid: Grid) -> Tensor:
        return self.low + (self.high - self.low) * torch.sigmoid(self.raw.to(grid.dtype))

    def extra_repr(self) -> str:
        return f"low={self.low:g}, high={self.high:g}, shape={tuple(self.raw.shape)}"


class Constant(nn.Module):
    """Several fixed numbers along the first dimension, as exact as the grid's dtype; nothing in the state dict.

    Args:
        values: Floats.
        name: What errors call them.

    Raises:
        TypeError: A value is not a float, for example a tensor, whose gradient would be lost.
        ValueError: It is not finite.
    """

    def __init__(self, values: Sequence[float], name: str = "values") -> None:
        super().__init__()
        if not isinstance(values, Sequence) or any(as_float(v) is None for v in values):
            raise TypeError(f"{name} must be floats, one tensor, an nn.Parameter or an nn.Module, got {values!r}")
        for value in values:
            check_quantity(name, value, None)
        self.values = tuple(map(float, values))

    def forward(self, grid: Grid) -> Tensor:
        return torch.stack([torch.full((), v, dtype=grid.dtype, device=grid.device) for v in self.values])

    def __repr__(self) -> str:
        return "[" + ", ".join(f"{value:g}" for value in self.values) + "]"


class Softmax(nn.Module):
    """Learnable weights of K operators that are positive and add up to 1: ``softmax(logits)`` over the first dimension.

    Args:
        count: K.
        shape: Of one weight, broadcastable to ``(*sizes, C)``: ``()`` for one number per operator, ``(C,)`` for one per
            channel.
        temperature: Divides the logits, > 0.

    Example:
        >>> from spectral_ops import Heat, Mixture, Poisson, Wave
        >>> mixture = Mixture([Heat(0.3), Wave(1.0, 2.0), Poisson(screening=0.5)], weights=Softmax(3, (16,)))
        >>> mixture(torch.randn(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """

    def __init__(self, count: int, shape: tuple[int, ...] = (), *, temperature: float = 1.0) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"count must be >= 1, got {count}")
        check_quantity("temperature", temperature, 0.0, strict=True)
        self.count = count
        self.temperature = temperature
        self.logits = nn.Parameter(torch.zeros(count, *shape))

    def reset_parameters(self) -> None:
        """Go back to equal weights."""
        nn.init.zeros_(self.logits)

    def forward(self, grid: Grid) -> Tensor:
        return torch.softmax(self.logits.to(grid.dtype) / self.temperature, dim=0)

    def extra_repr(self) -> str:
        return f"shape={tuple(self.logits.shape)}, temperature={self.temperature:g}"


class InputRouter(nn.Module):
    r"""Weights of K operators predicted from the input and constant in space, so that one transform pair suffices.

    .. math::  w = \mathrm{softmax}([W_2\,\mathrm{ReLU}(W_1 \bar x + b_1) + b_2,\, 0])

    with :math:`\bar x` the input's mean over the grid. The last operator's logit is fixed at 0; for two operators the
    first weight is a sigmoid, the input-conditioned gate of TailProp (arXiv 2609.11081).

    Args:
        channels: C of the input.
        count: K >= 2.
        reduction: The hidden layer has ``channels // reduction`` units, at least one.
        per_channel: One weight per operator and channel, or one per operator.

    Raises:
        ValueError: The operator's gain was read without ``pooled``, or with one of other width.

    Example:
        >>> from spectral_ops import FractionalHeat, Heat, Mixture
        >>> tails = Mixture([Heat(0.5), FractionalHeat(0.5, order=0.5)], weights=InputRouter(16, 2))
        >>> tails(torch.randn(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """

    needs_input = True

    def __init__(self, channels: int, count: int, *, reduction: int = 8, per_channel: bool = True) -> None:
        super().__init__()
        if channels < 1 or count < 2 or reduction < 1:
            raise ValueError(
                f"channels and reduction must be >= 1 and count >= 2, got {channels=}, {reduction=} and {count=}"
            )
        self.channels, self.count = channels, count
        self.hidden = nn.Linear(channels, max(channels // reduction, 1))
        self.output = nn.Linear(self.hidden.out_features, (count - 1) * (channels if per_channel else 1))

    def forward(self, grid: Grid) -> Tensor:
        x = grid.pooled
        if x is None:
            raise ValueError("this operator's weights are predicted from the input: give gain() its mean as `pooled`")
        if x.shape[-1] != self.channels:
            raise ValueError(f"the input must have {self.channels} channels, got {x.shape[-1]}")
        x = call_in_own_dtype(self.output, F.relu(call_in_own_dtype(self.hidden, x.to(grid.dtype))))
        x = torch.unflatten(x, -1, (self.count - 1, -1)).transpose(0, -2)  # (K - 1, [B,] C or 1)
        weights = torch.softmax(F.pad(x, (0, 0) * (x.ndim - 1) + (0, 1)), dim=0)  # the last logit is 0
        for _ in grid.sizes:  # not a view, over whose shape torch's TorchScript exporter divides by zero
            weights = weights.unsqueeze(-2)
        return weights


class FromEmbedding(nn.Module):
    r"""A non-negative quantity predicted for each mode and channel: ``relu(linear(embedding))``.

    This is vHeat's diffusivity: :math:`k = \mathrm{ReLU}(W E + b)`, with E the spectral embedding ``(*sizes, C)``
    given to the operator's call. It does not depend on the input.

    Args:
        channels: C of the embedding and of the result.

    Raises:
        ValueError: The operator was called without an embedding, or with one of other width.
    """

    minimum = 0.0
    needs_embedding = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear = nn.Linear(channels, channels)

    def forward(self, grid: Grid) -> Tensor:
        embedding = _embedding(grid)
        if embedding.shape[-1] != self.channels:
            raise ValueError(f"embedding must have {self.channels} channels, got shape {tuple(embedding.shape)}")
        # As a batch of one, which tools that see batches take it for: PEFT's mixed batches would share out its rows.
        # A copy: a view of a parameter asks for gradients even under no_grad, which stops torch's counter of work.
        return F.relu(call_in_own_dtype(self.linear, torch.stack([embedding])).squeeze(0))


class SoftplusEmbedding(nn.Module):
    r"""A positive quantity that is learned freely for each mode and channel: ``softplus(embedding)``.

    It has no parameters of its own. Those of the embedding are the quantity, so what shares an embedding shares it, and
    at other sizes than it is stored at it follows the embedding's rule.

    Raises:
        ValueError: The operator was called without an embedding.

    Example:
        >>> from spectral_ops import Heat, SpectralEmbedding
        >>> heat, embedding = Heat(diffusivity=SoftplusEmbedding()), SpectralEmbedding((7, 7), 16)
        >>> heat(torch.randn(2, 16, 8, 8), embedding=embedding((8, 8))).shape
        torch.Size([2, 16, 8, 8])
    """

    minimum = 0.0
    needs_embedding = True

    def forward(self, grid: Grid) -> Tensor:
        return F.softplus(_embedding(grid))


def _embedding(grid: Grid) -> Tensor:
    """The embedding handed to the call, in the dtype of the gain."""
    if grid.embedding is None:
        sizes = ", ".join(map(str, grid.sizes))
        raise ValueError(
            f"this operator needs a spectral embedding, ({sizes}, C) for this grid: call it as "
            f"operator(x, embedding=...)"
        )
    return grid.embedding.to(grid.dtype)
