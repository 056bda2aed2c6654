"""A MoPPA unit: a gated mixture of priors on a sequence of tokens or on a map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adapters.grid import Sizes, TokenGrid
from adapters.priors import ReleasedTau
from adapters.router import Router
from spectral_ops import Grid, Identity, Mixture, Scaled, SpectralOperator, apply_gain
from spectral_ops.recompute import may_checkpoint
from spectral_ops.writes import Mark, marks_of_settings, marks_of_tensors, note_steps_of_optimizers

__all__ = ["MoPPAUnit"]


class _Gate(nn.Module):
    """One number per head, zero at first, times a constant; laid out over all channels."""

    def __init__(self, heads: int, width: int, scale: float) -> None:
        super().__init__()
        self.width, self.scale = width, scale
        self.value = nn.Parameter(torch.zeros(heads))

    def forward(self, grid: Grid) -> Tensor:
        return repeat(self.scale * self.value.to(grid.dtype), "heads -> (heads width)", width=self.width)


def _numbers(tensor: Tensor | None) -> tuple[int, int]:
    """What differs once another tensor stands in its place, or it has been written to."""
    return id(tensor), 0 if tensor is None or tensor.is_inference() else tensor._version


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
        mixture = Mixture(operators, weights=router)
        change = mixture if parallel else mixture - Identity(**operators[0].grid_options)
        self._expression = (Scaled(change, scale if self.gate is None else self.gate), mixture)
        self.parallel = parallel
        self.tokens = tokens
        self._stored: dict[Sizes, tuple[Any, Any, Tensor]] = {}
        self.storing = False
        self.route_weight, self.progress = route_weight, 0.0

    @property
    def operator(self) -> SpectralOperator:
        """From the input's grid to the change, of the parts that the unit has now: tools put others in their places."""
        change, mixture = self._expression
        priors = list(self.priors.values())
        if len(priors) != len(mixture.terms) or any(a is not b for a, b in zip(priors, mixture.terms, strict=True)):
            mixture.terms = nn.ModuleList(priors)
        if mixture.weights is not self.router:
            mixture.weights = self.router
        if self.gate is not None and change.factor is not self.gate:
            change.factor = self.gate
        return change

    def forward(self, x: Tensor) -> Tensor:
        """x plus the change; for a unit in parallel the change alone."""
        if self.tokens is None:
            change = self._change(x)
            return change if self.parallel else x + change
        prefix, grid = self.tokens.split(x)
        change = self._change(grid)
        start, behind = (torch.zeros_like(prefix), change) if self.parallel else (prefix, grid + change)
        return torch.cat([start, rearrange(behind, "b h w c -> b (h w) c")], dim=1)

    def _change(self, x: Tensor) -> Tensor:
        dims = self.operator.dims
        sizes = (x.shape[dims[0]], x.shape[dims[1]])
        if self.storing:
            with torch.inference_mode(False), torch.no_grad():
                self._stored[sizes] = (self._stamp(), self._marks(), self._gain(x, sizes)().clone())
            note_steps_of_optimizers()
        gain = self._stored_gain(x, sizes)
        return apply_gain(x, self._made_gain(x, sizes) if gain is None else gain, dims)

    def _learning(self) -> bool:
        return torch.is_grad_enabled() and any(p.requires_grad for p in self._sources())

    def _stored_gain(self, x: Tensor, sizes: Sizes) -> Tensor | None:
        """The gain that was computed for this grid, if it is still the one; None also where it is to be learned."""
        if not self._stored or x.dtype == torch.float64 or self._learning():
            return None
        stamp, marks, gain = self._stored.get(sizes, (None, [], None))
        if gain is None or stamp != self._stamp():
            return None
        holds = torch.compiler.is_dynamo_compiling() or all(mark.holds() for mark in marks)
        return gain.to(x.device) if holds else None

    def _made_gain(self, x: Tensor, sizes: Sizes) -> Tensor:
        """The gain. It is made in dozens of small steps, each as large as a sample's map: backward makes it again
        instead of keeping them."""
        make = self._gain(x, sizes)
        if not (self._learning() and may_checkpoint()):
            return make()
        # By name: in backward FSDP's modules have the same numbers as attributes, which were parameters in forward.
        parts = self._parts()
        places = [(part, name) for part in parts for name, p in part._parameters.items() if p is not None]
        held = [_numbers(getattr(part, name)) for part, name in places]

        def compute() -> Tensor:
            now = [_numbers(getattr(part, name, None)) for part, name in places]
            if now != held or self._parts() != parts:
                raise RuntimeError(
                    "a MoPPA unit's parameters have been modified or exchanged between its forward pass and backward"
                )
            return make()

        random = self.router.training and self.router.dropout > 0
        return checkpoint(compute, use_reentrant=False, preserve_rng_state=random)  # type: ignore[no-any-return]

    def _gain(self, x: Tensor, sizes: Sizes) -> Callable[[], Tensor]:
        """What makes the gain for an input, with the priors that are left out now. It does not hold the input."""
        pooled = x.mean(self.operator.dims) if self.operator.input_conditioned else None
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        device, left_out = x.device, self.router.left_out

        def make() -> Tensor:
            if self.router.left_out == left_out:
                return self.operator.gain(sizes, pooled=pooled, dtype=dtype, device=device)
            with self.router.leaving_out(left_out):
                return self.operator.gain(sizes, pooled=pooled, dtype=dtype, device=device)

        return make

    def _replicate_for_data_parallel(self) -> MoPPAUnit:
        raise RuntimeError("nn.DataParallel cannot copy MoPPA's units: use DistributedDataParallel")

    # -- gains computed once, for inference -------------------------------------------------------------------------

    def _parts(self) -> list[nn.Module]:
        """The modules that the gain is made by."""
        media = [inner for m in self.modules() if isinstance(m, ReleasedTau) for inner in m.media.modules()]
        return [*self.modules(), *media]

    def _sources(self) -> Iterator[nn.Parameter]:
        """Every parameter the gain is computed from."""
        for part in self._parts():
            yield from (p for p in part._parameters.values() if p is not None)

    def _stamp(self) -> tuple[Any, ...]:
        """What a stored gain was computed from: it is used only as long as this is the same."""
        return (self.router.left_out, *self._versions())

    def _versions(self) -> tuple[tuple[int, int], ...]:
        return tuple(map(_numbers, self._sources()))

    def _marks(self) -> list[Mark]:
        """What else it was computed from: where the parameters lie, which ``.data`` changes without another version,
        and the modules, settings and hooks around them."""
        parts = [*self.children(), self.operator]
        parts += [module.shared for module in self.modules() if isinstance(module, ReleasedTau)]
        modules = dict.fromkeys(module for part in parts for module in part.modules())
        return [mark for module in modules for mark in (*marks_of_tensors(module), *marks_of_settings(module))]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stored": {}}  # of these parameters, not of a copy's

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
