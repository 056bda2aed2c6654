"""Stored gains for deployment: the same operator without computing its physics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spectral_ops._checks import check_floating, check_sizes
from spectral_ops.grid import Grid, GridOptions
from spectral_ops.operator import SpectralOperator

__all__ = ["Precomputed"]


class Precomputed(SpectralOperator):
    """An operator whose gain is looked up by grid size.

    On a grid without a stored gain, or for float64 inputs without one in float64, it falls back to ``source``, which it
    keeps, so nothing is lost and ``operator.source`` undoes the replacement. Later changes of the source's quantities
    are not seen on grids with a stored gain. ``source=None`` serves files that hold gains only.

    Args:
        source: The operator the gains come from, or None.
        options: Grid options (dims, ...); by default those of ``source``.

    Example:
        >>> from spectral_ops import Heat
        >>> import torch
        >>> fast = Precomputed(Heat(diffusivity=0.3, dims=(1, 2)))
        >>> fast.store((14, 14), fast.source.gain((14, 14)))
        >>> x = torch.randn(2, 14, 14, 8)
        >>> bool(torch.equal(fast(x), fast.source(x)))
        True
    """

    def __init__(self, source: SpectralOperator | None = None, options: GridOptions | None = None) -> None:
        if source is not None and not isinstance(source, SpectralOperator):
            raise TypeError(f"source must be a SpectralOperator or None, got {type(source).__name__}")
        if (source is None) == (options is None):
            raise ValueError("Precomputed takes either a source operator or grid options, not both or neither")
        super().__init__(**(source.grid_options if source is not None else options or {}))
        self.source = source

    @staticmethod
    def _name(sizes: Sequence[int]) -> str:
        return "gain_" + "x".join(map(str, sizes))

    def store(self, sizes: int | Sequence[int], gain: Tensor) -> None:
        """Keep ``gain``, ``(*sizes)`` or ``(*sizes, C)``, as a buffer for grids of ``sizes``."""
        sizes = check_sizes(sizes)
        if len(sizes) != len(self.dims):
            raise ValueError(f"sizes must have one entry per transformed dimension of {self.dims}, got {sizes}")
        check_floating(gain, "gain")
        if tuple(gain.shape[: len(sizes)]) != sizes or gain.ndim not in (len(sizes), len(sizes) + 1):
            raise ValueError(f"gain must have shape {sizes} or (*{sizes}, C), got {tuple(gain.shape)}")
        if self.source is not None and self.source.input_conditioned:
            raise ValueError(f"the gain of {self.source!r} depends on the input and cannot be precomputed")
        gain = gain if gain.ndim > len(sizes) else gain.unsqueeze(-1)
        with torch.inference_mode(False):  # so that what is stored during evaluation serves training too
            self.register_buffer(self._name(sizes), gain.detach().clone())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, gain in state_dict.items():
            match = re.fullmatch(re.escape(prefix) + r"(gain_\d+(?:x\d+)*)", name)
            if match and match.group(1) not in self._buffers:
                owned = next((t for t in (*self.parameters(), *self.buffers())), gain)
                self.register_buffer(match.group(1), torch.empty_like(gain, device=owned.device))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def covers(self, sizes: Sequence[int]) -> bool:
        """Whether a gain is stored for ``sizes``."""
        return self._find(sizes) is not None

    def _find(self, sizes: Sequence[int]) -> Tensor | None:
        # By comparing ints, which works on the symbolic sizes of a traced graph too (and fixes them).
        for stored in self.stored_sizes:
            if len(stored) == len(sizes) and all(a == b for a, b in zip(stored, sizes, strict=True)):
                return self._buffers[self._name(stored)]
        return None

    @property
    def stored_sizes(self) -> list[tuple[int, ...]]:
        """The grids with a stored gain."""
        return [tuple(map(int, name.removeprefix("gain_").split("x"))) for name in self._buffers]

    def raw_gain(self, grid: Grid) -> Tensor:
        stored = self._find(grid.sizes)
        exact = stored is not None and (grid.dtype == torch.float32 or stored.dtype == torch.float64)
        if stored is not None and (exact or self.source is None):
            return stored.to(grid.dtype)
        if self.source is None:
            raise ValueError(
                f"no gain is stored for a grid of {grid.sizes}, and there is no source operator to compute it from; "
                f"stored: {self.stored_sizes}"
            )
        return self.source.raw_gain(grid)

    def __repr__(self) -> str:
        return f"Precomputed({self.source!r}, sizes={self.stored_sizes})"
