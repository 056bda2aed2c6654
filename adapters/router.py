"""The router of a unit: how much of each prior every head takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_ops import Grid

__all__ = ["Router"]


#: Routes never get sharper than at this temperature, and never turn round.
COLDEST = 0.05


class Router(nn.Module):
    r"""Weights of K priors for each head, :math:`a_{bj} = \mathrm{softmax}_b(p_{bj} / T_j)`.

    Conditioned on the input, :math:`p_{bj} + \langle v_b, \hat x_j\rangle` takes the place of p, with
    :math:`\hat x_j` the normalised mean of head j over the grid; v starts at zero, so that the router starts static.

    Args:
        names: The K priors.
        heads, width: The channels are ``heads * width``.
        conditioned: Whether the weights see the input.
        temperature: Initial T > 0, learned per head.
        dropout: Probability that a prior is left out of a training step; one always stays.

    Shape:
        ``(K, C)`` laid out to broadcast over a grid, ``(K, B, ..., C)`` where conditioned.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        heads: int,
        width: int,
        *,
        conditioned: bool = False,
        temperature: float = 5.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.names, self.heads, self.width = names, heads, width
        self.needs_input = conditioned
        self.dropout = dropout
        self.logits = nn.Parameter(torch.randn(len(names), heads))
        self.temperature = nn.Parameter(torch.full((heads,), float(temperature)))
        self.direction = nn.Parameter(torch.zeros(len(names), width)) if conditioned else None
        self.left_out: frozenset[str] = frozenset()
        self._seen: Tensor | None = None  # the last routes, for the regularisation of conditioned routers

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_seen": None}  # part of a graph, which copies cannot hold

    def weights(self, pooled: Tensor | None, dtype: torch.dtype = torch.float32, *, dropout: bool = False) -> Tensor:
        """The routes ``(K, heads)``, or ``(K, B, heads)`` for the means ``(B, C)`` of a batch."""
        logits = self.logits.to(dtype)
        if self.direction is not None:
            if pooled is None:
                raise ValueError("this router sees the input: its weights need `pooled`, the mean over the grid")
            heads = rearrange(pooled.to(dtype), "... (heads width) -> ... heads width", heads=self.heads)
            heads = F.layer_norm(heads, (self.width,))
            shift = torch.einsum("...jw,kw->k...j", heads, self.direction.to(dtype))
            logits = logits.reshape(len(self.names), *(1,) * (shift.ndim - 2), self.heads) + shift
        logits = logits / self.temperature.to(dtype).clamp(min=COLDEST)
        out = self._left_out(logits.device, dropout)
        if out is not None:
            logits = logits.masked_fill(out.view(-1, *(1,) * (logits.ndim - 1)), -torch.inf)
        return torch.softmax(logits, dim=0)

    def _left_out(self, device: torch.device, dropout: bool) -> Tensor | None:
        """Which priors are switched off now, or None."""
        if self.left_out:
            return torch.tensor([name in self.left_out for name in self.names], device=device)
        if dropout and self.dropout > 0:
            draw = torch.rand(len(self.names))  # by the one generator that checkpoints put back without being asked
            return ((draw < self.dropout) & (draw < draw.max())).to(device)
        return None

    @contextmanager
    def leaving_out(self, names: frozenset[str]) -> Iterator[None]:
        """Priors that are switched off inside a ``with`` block (ablation).

        Raises:
            ValueError: A name is unknown here, or none would be left.
        """
        unknown = names - set(self.names)
        if unknown or names >= set(self.names):
            raise ValueError(f"priors to leave out must be some, not all, of {self.names}, got {sorted(names)}")
        before, self.left_out = self.left_out, names
        try:
            yield
        finally:
            self.left_out = before

    def entropy(self) -> Tensor:
        r""":math:`-\overline{a \log(a + 10^{-8})}`, the mean over priors and heads (and samples): 0 where one prior
        takes all, largest where all are balanced. A conditioned router answers for its last
        batch in training.
        """
        routes = self._seen if self.direction is not None else self.weights(None)
        if routes is None:
            raise ValueError("the routes of an input-conditioned router are those of its last forward pass in training")
        return -(routes * torch.log(routes + 1e-8)).mean()

    def forward(self, grid: Grid) -> Tensor:
        pooled = grid.pooled if self.needs_input else None
        routes = self.weights(pooled, grid.dtype, dropout=self.training)
        if self.direction is not None:
            self._seen = routes if self.training else None
        routes = repeat(routes, "... heads -> ... (heads width)", width=self.width)
        return routes.view(*routes.shape[:-1], *(1,) * len(grid.sizes), routes.shape[-1])

    def extra_repr(self) -> str:
        return f"{', '.join(self.names)}; heads={self.heads}, conditioned={self.needs_input}"
