"""A MoPPA unit: a gated mixture of priors on a sequence of tokens or on a map."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from adapters.router import Router
from spectral_ops import Grid, Identity, Mixture, Scaled, SpectralOperator, apply_gain

__all__ = ["LAYOUTS", "Layout", "MoPPAUnit", "TokenGrid"]

#: ``"tokens"`` is (B, prefix + H*W, C), ``"NHWC"`` and ``"NCHW"`` are maps.
Layout = Literal["tokens", "NHWC", "NCHW"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


class TokenGrid:
    """Where a token sequence's H x W comes from: read off the model as it runs, or fixed.

    Attributes:
        sizes: The grid of the sequence that is on its way, None before the first one.
        prefix: Number of tokens before the grid's (class, distillation, registers).
    """

    def __init__(self, prefix: int, sizes: tuple[int, int] | None = None) -> None:
        self.prefix, self.sizes = prefix, sizes

    def read_output(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        """Forward hook of the convolution that makes the patches, ``(B, C, H, W)``."""
        self.sizes = (output.shape[-2], output.shape[-1])

    def read_input(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Forward pre-hook of a block that takes a map ``(B, H, W, C)``."""
        self.sizes = (args[0].shape[1], args[0].shape[2])

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The prefix tokens ``(B, P, C)`` and the others as a map ``(B, H, W, C)``.

        Raises:
            ValueError: The sequence is not as long as the grid and the prefix say.
        """
        if self.sizes is None:
            raise ValueError("the token grid is not known yet: call the whole model, which sets it, not a part of it")
        height, width = self.sizes
        if x.ndim != 3 or x.shape[1] != self.prefix + height * width:
            raise ValueError(
                f"expected tokens of shape (B, {self.prefix} + {height} * {width}, C): {self.prefix} prefix tokens and "
                f"a grid of {height} x {width}, got {tuple(x.shape)}; num_prefix_tokens of the config sets the former"
            )
        return x[:, : self.prefix], x[:, self.prefix :].unflatten(1, self.sizes)


class _Gate(nn.Module):
    """One number per head, zero at first, times a constant; laid out over all channels."""

    def __init__(self, heads: int, width: int, scale: float) -> None:
        super().__init__()
        self.width, self.scale = width, scale
        self.value = nn.Parameter(torch.zeros(heads))

    def forward(self, grid: Grid) -> Tensor:
        return (self.scale * self.value.to(grid.dtype)).repeat_interleave(self.width)


class MoPPAUnit(nn.Module):
    r"""What a unit adds to its input x, over the grid; prefix tokens pass by.

    .. math::  \Delta = g \odot (\mathcal M x - x), \qquad \mathcal M = \sum_b a_b \mathcal A_b

    or :math:`g \odot \mathcal M x` in parallel to a layer. One forward and one inverse transform, whatever the number
    of priors: only gains are combined. At g = 0, where training starts, :math:`\Delta` is exactly zero; at g = 1,
    :math:`x + \Delta = \mathcal M x` is the released form.

    Args:
        priors: The K operators by name.
        router: Their weights.
        gated: A learned gate per head that starts at zero; else g is ``scale``.
        scale: Constant factor of g, >= 0.
        parallel: Leave out the -x.
        tokens: The grid of sequences, None for maps.
        route_weight: Initial weight of the route regularisation.

    Attributes:
        progress: How far training is, 0 to 1, for the regularisation's schedule.
    """

    def __init__(
        self,
        priors: dict[str, SpectralOperator],
        router: Router,
        *,
        gated: bool,
        scale: float,
        parallel: bool,
        tokens: TokenGrid | None,
        route_weight: float = 0.0,
    ) -> None:
        super().__init__()
        # The names of parameters in files are these, not those of the expression, which stays out of the module tree.
        self.priors = nn.ModuleDict(priors)
        self.router = router
        self.gate = _Gate(router.heads, router.width, scale) if gated else None
        operators = list(priors.values())
        mixture: SpectralOperator = Mixture(operators, weights=router)
        change = mixture if parallel else mixture - Identity(**operators[0].grid_options)
        self._operator = (Scaled(change, scale if self.gate is None else self.gate),)
        self.parallel = parallel
        self.tokens = tokens
        self._stored: dict[tuple[int, int], Tensor] = {}
        self.storing = False
        self.route_weight, self.progress = route_weight, 0.0

    @property
    def operator(self) -> SpectralOperator:
        """From the input's grid to the change."""
        return self._operator[0]

    def forward(self, x: Tensor) -> Tensor:
        """x plus the change; for a unit in parallel the change alone."""
        if self.tokens is None:
            change = self._change(x)
            return change if self.parallel else x + change
        prefix, grid = self.tokens.split(x)
        change = self._change(grid)
        if self.parallel:
            return torch.nn.functional.pad(change.flatten(1, 2), (0, 0, self.tokens.prefix, 0))
        return torch.cat([prefix, (grid + change).flatten(1, 2)], dim=1)

    def _change(self, x: Tensor) -> Tensor:
        dims = self.operator.dims
        sizes = (x.shape[dims[0]], x.shape[dims[1]])
        if self.storing:
            self._stored[sizes] = self.operator.gain(sizes, device=x.device).detach()
        gain = None if self.training else self._stored.get(sizes)
        if gain is None or x.dtype == torch.float64:
            return self.operator(x)
        return apply_gain(x, gain.to(x.device), dims)

    # -- gains computed once, for inference -------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop the stored gains."""
        self._stored = {}

    def train(self, mode: bool = True) -> MoPPAUnit:
        """As in torch; training makes stored gains invalid and drops them."""
        if mode:
            self.forget()
        return super().train(mode)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        self.forget()
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[arg-type]
