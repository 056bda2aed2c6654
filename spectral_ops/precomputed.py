"""Stored gains for deployment: the same operator without computing its physics."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spectral_ops._checks import check_floating, check_sizes
from spectral_ops.grid import Grid, GridOptions
from spectral_ops.operator import SpectralOperator
from spectral_ops.torch_internals import exporting
from spectral_ops.writes import Mark, marks_of_settings, marks_of_tensors, note_steps_of_optimizers

__all__ = ["Precomputed"]


class Precomputed(SpectralOperator):
    """An operator whose gain is looked up by grid size.

    On a grid without a stored gain, or for float64 inputs without one in float64, it falls back to ``source``, which it
    keeps, so nothing is lost and ``operator.source`` undoes the replacement. It does so, too, where what a gain was
    made of has changed since or is to get a gradient, so a stored gain is not stale: weights, modules, and settings of
    modules, as the adapter that is active, and hooks. Training mode, loading and casts to another dtype drop the stored
    gains. None is used that was made of tensors of inference mode, or of memory that processes share
    (``share_memory()``), whose writes cannot be seen. Nor is seen what torch itself does not note: writes in place
    through ``.data``, as where ``vector_to_parameters`` is given the same vector twice, and, in a graph of
    ``torch.compile``, other writes in place than loading, and other settings, hooks and modules. Graphs that are traced
    or exported keep the stored gain, and serve its grid alone. ``source=None`` serves files that hold gains only.

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
        # By the names of gains, what each was made of beside the source, and the state that all of it was in then:
        # tensors, and the modules and settings around them.
        self._made_from: dict[str, tuple[nn.Module, ...]] = {}
        self._stamps: dict[str, list[Mark]] = {}
        self._frames: dict[str, list[Mark]] = {}

    @staticmethod
    def _name(sizes: Sequence[int]) -> str:
        return "gain_" + "x".join(map(str, sizes))

    def store(self, sizes: int | Sequence[int], gain: Tensor, made_from: Sequence[nn.Module] = ()) -> None:
        """Keep ``gain``, ``(*sizes)`` or ``(*sizes, C)``, as a buffer for grids of ``sizes``.

        Args:
            sizes: The grid.
            gain: The source's gain there.
            made_from: Modules other than the source that it depends on, such as the embedding handed to its calls.
        """
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
        self._made_from[self._name(sizes)] = tuple(made_from)
        self._stamp(self._name(sizes))

    def _stamp(self, name: str) -> None:
        outer = (*(() if self.source is None else (self.source,)), *self._made_from[name])
        modules = [module for each in outer for module in each.modules()]
        self._stamps[name] = [mark for module in modules for mark in marks_of_tensors(module)]
        self._frames[name] = [mark for module in modules for mark in marks_of_settings(module)]
        note_steps_of_optimizers()

    def _fresh(self, name: str) -> bool:
        """Whether a gain is what the source would give now, and nothing of it is to be learned."""
        if self.source is None:
            return True
        stamp = self._stamps[name]
        if torch.is_grad_enabled() and not exporting() and any(mark.value.requires_grad for mark in stamp):
            return False
        return self._holds(name)

    def _holds(self, name: str) -> bool:
        """Whether what a gain was made of is there as it was."""
        if not torch.compiler.is_dynamo_compiling() and not all(mark.holds() for mark in self._frames[name]):
            return False
        return all(mark.holds() for mark in self._stamps[name])

    def forget(self) -> None:
        """Drop the stored gains, where the source can make others."""
        if self.source is not None:
            for name in list(self._buffers):
                delattr(self, name)
            self._made_from, self._stamps, self._frames = {}, {}, {}

    def train(self, mode: bool = True) -> Precomputed:
        """As in torch; training would make stored gains stale, and drops them."""
        if mode:
            self.forget()
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Precomputed:
        """As in torch; a cast would round what is stored, and the source can make it in the new dtype."""
        before = {name: gain.dtype for name, gain in self._buffers.items() if gain is not None}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if any(gain is not None and gain.dtype != before[name] for name, gain in self._buffers.items()):
            self.forget()
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Versions of tensors are not those of their copies: a copy gets the gains that are still right.
        made_from = {name: made for name, made in self._made_from.items() if self._holds(name)}
        kept = {n: t for n, t in self._buffers.items() if self.source is None or n in made_from}
        return {**self.__dict__, "_buffers": kept, "_made_from": made_from, "_stamps": {}, "_frames": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        for name in self._made_from:
            self._stamp(name)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, gain in state_dict.items():
            match = re.fullmatch(re.escape(prefix) + r"(gain_\d+(?:x\d+)*)", name)
            if match and match.group(1) not in self._buffers:
                owned = next((t for t in (*self.parameters(), *self.buffers())), gain)
                self.register_buffer(match.group(1), torch.empty_like(gain, device=owned.device))
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.forget()  # what the source and its embedding are after loading is not known yet

    def covers(self, sizes: Sequence[int]) -> bool:
        """Whether a gain is stored for ``sizes`` that can be used now."""
        return self._find(sizes) is not None

    def _find(self, sizes: Sequence[int]) -> Tensor | None:
        # By comparing ints, which works on the symbolic sizes of a traced graph too (and fixes them).
        for stored in self.stored_sizes:
            if len(stored) == len(sizes) and all(a == b for a, b in zip(stored, sizes, strict=True)):
                name = self._name(stored)
                return self._buffers[name] if self._fresh(name) else None
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
