r"""The physical priors of a unit, as spectral operators whose quantities are learned per head and per channel.

The C channels of a map are seen as ``heads`` x ``width``, channel (j, i) being the i-th of head j, as attention splits
them. In the *exact* physics a medium belongs to a head and a time to a channel, so that an operator has
``heads + width`` numbers instead of C; the gain is the PDE's own solution and fits every grid. In the *released*
physics (the form in the authors' published code) the medium depends on the cosine mode too and is shared by all layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import repeat
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_ops import (
    Biharmonic,
    FractionalHeat,
    Grid,
    GridOptions,
    Heat,
    Identity,
    Plate,
    Poisson,
    ReactionDiffusion,
    Scaled,
    SpectralOperator,
    Wave,
    resize_embedding,
)
from spectral_ops.embedding import ResizeRule

__all__ = ["PRIORS", "Quantities", "ReleasedTau", "SharedMedia", "exact_priors", "register_prior", "released_priors"]

#: Relative spread of initial times over the channels of a head, so that channels differ from the start.
SPREAD = 0.2


class _Learned(nn.Module):
    """``minimum + softplus(raw)``, one value per head or per channel of a head, laid out over all C channels."""

    def __init__(self, initial: float, minimum: float, heads: int, width: int, per_head: bool) -> None:
        super().__init__()
        self.heads, self.width, self.per_head, self.minimum = heads, width, per_head, minimum
        value = torch.full((heads if per_head else width,), initial - minimum)
        if not per_head:
            value = value * (1 + SPREAD * torch.randn_like(value)).clamp(0.1, 2)
        self.raw = nn.Parameter(value + torch.log(-torch.expm1(-value)))

    def forward(self, grid: Grid) -> Tensor:
        value = self.minimum + F.softplus(self.raw.to(grid.dtype))
        if self.per_head:
            return repeat(value, "heads -> (heads width)", width=self.width)
        return repeat(value, "width -> (heads width)", heads=self.heads)

    def extra_repr(self) -> str:
        return f"{'per head' if self.per_head else 'per channel'}, shape={tuple(self.raw.shape)}"


@dataclass(frozen=True)
class Quantities:
    """What a prior is built from: makers of learnable quantities, and the operator's grid options.

    Attributes:
        heads, width: The channels are ``heads * width``.
        grid: ``dims`` and whatever else the operators of a unit share.
    """

    heads: int
    width: int
    grid: GridOptions

    def per_head(self, initial: float, minimum: float = 0.0) -> nn.Module:
        """A quantity of the medium, above ``minimum``: one value for each head."""
        return _Learned(initial, minimum, self.heads, self.width, per_head=True)

    def per_channel(self, initial: float, minimum: float = 0.0) -> nn.Module:
        """A time or strength, above ``minimum``: one value for each channel of a head, the same in all heads."""
        return _Learned(initial, minimum, self.heads, self.width, per_head=False)


Prior = Callable[[Quantities], SpectralOperator]

#: The priors a config may name. The Poisson prior's strength per channel is its source distribution.
PRIORS: dict[str, Prior] = {
    "heat": lambda q: Heat(q.per_head(1.0), q.per_channel(0.05), **q.grid),
    "wave": lambda q: Wave(q.per_head(1.0), q.per_channel(0.05), **q.grid),
    "poisson": lambda q: Scaled(Poisson(q.per_head(1.0, minimum=0.1), **q.grid), q.per_channel(1.0)),
    "fractional_heat": lambda q: FractionalHeat(q.per_head(1.0), 0.5, q.per_channel(0.05), **q.grid),
    "reaction_diffusion": lambda q: ReactionDiffusion(q.per_head(1.0), q.per_head(0.1), q.per_channel(0.05), **q.grid),
    "biharmonic": lambda q: Biharmonic(q.per_head(1.0), q.per_channel(0.05), **q.grid),
    "plate": lambda q: Plate(q.per_head(1.0), q.per_channel(0.05), **q.grid),
    "identity": lambda q: Identity(**q.grid),
}


def register_prior(name: str, build: Prior) -> None:
    """Make an operator of one's own a prior that configs may name.

    Args:
        name: A new name.
        build: From :class:`Quantities` to the operator; pass ``**q.grid`` on to it.

    Raises:
        ValueError: The name is taken.
        TypeError: ``build`` is an operator, or nothing that can be called.

    Example:
        >>> from spectral_ops import FractionalHeat
        >>> register_prior("tails", lambda q: FractionalHeat(q.per_head(1.0), 0.7, q.per_channel(0.1), **q.grid))
        >>> PRIORS.pop("tails") is not None
        True
    """
    if name in PRIORS:
        raise ValueError(f"there is already a prior called {name!r}; registered: {sorted(PRIORS)}")
    if isinstance(build, nn.Module) or not callable(build):
        raise TypeError(f"build must be a function from Quantities to an operator, such as a lambda, got {build!r}")
    PRIORS[name] = build


def exact_priors(names: tuple[str, ...], quantities: Quantities) -> dict[str, SpectralOperator]:
    """The operators by name, in exact physics."""
    return {name: PRIORS[name](quantities) for name in names}


# -- released physics -------------------------------------------------------------------------------------------------

#: Initial mean and standard deviation of the released form's times.
_RELEASED_TIMES = {"heat": (0.05, 0.01), "wave": (0.05, 0.01), "poisson": (0.5, 0.1)}


class SharedMedia(nn.Module):
    """k of the released form, ``(H, W, heads)`` for each prior that has one; all layers of one grid share it."""

    def __init__(self, names: tuple[str, ...], sizes: tuple[int, int], heads: int) -> None:
        super().__init__()
        for name in names:
            if name in _RELEASED_TIMES:
                self.register_parameter(f"k_{name}", nn.Parameter(torch.ones(*sizes, heads)))

    def forward(self, name: str) -> Tensor:
        """k of a prior: what is hooked on a module's call may make its parameters there."""
        return getattr(self, f"k_{name}")  # type: ignore[no-any-return]


class ReleasedTau(nn.Module):
    """``relu(k[n, m, j] t[i])``, k resized to the grid it is asked for."""

    minimum = 0.0

    def __init__(self, name: str, shared: nn.ModuleDict, key: str, width: int, rule: ResizeRule) -> None:
        super().__init__()
        self.name, self.rule = name, rule
        self._media = (shared, key)  # in a tuple, so that they stay the tuner's and not every layer's
        mean, std = _RELEASED_TIMES[name]
        self.time = nn.Parameter(mean + std * torch.randn(width))

    @property
    def media(self) -> SharedMedia:
        """Where k is now: tools put others in the place of modules."""
        return self.shared[self._media[1]]  # type: ignore[return-value]

    @property
    def shared(self) -> nn.ModuleDict:
        """Where the media are."""
        return self._media[0]

    def forward(self, grid: Grid) -> Tensor:
        k = self.media(self.name).to(grid.dtype)
        k = resize_embedding(k, grid.sizes, self.rule)
        return F.relu(k.unsqueeze(-1) * self.time.to(grid.dtype)).flatten(-2)


class _LearnedSpectrum(SpectralOperator):
    """An operator whose gain is the quantity itself, independent of the eigenvalue."""

    def __init__(self, spectrum: nn.Module, **grid: object) -> None:
        super().__init__(**grid)  # type: ignore[arg-type]
        self.add_quantity("spectrum", spectrum)

    def multiplier(self, eigenvalues: Tensor, *, spectrum: Tensor) -> Tensor:  # type: ignore[override]
        return spectrum


def released_priors(
    names: tuple[str, ...], quantities: Quantities, shared: nn.ModuleDict, key: str, rule: ResizeRule
) -> dict[str, SpectralOperator]:
    r"""The operators of the released form by name, with :math:`\tau_b = \mathrm{ReLU}(k_b[n, m, j]\, t_b[i])`:

    heat :math:`e^{-\lambda\tau}`, wave :math:`\cos(\lambda\tau)` (a plate's, for it has :math:`\lambda` where a wave
    has :math:`\sqrt\lambda`), Poisson :math:`\tau` itself. Other priors are those of the exact physics.
    """

    def released(name: str) -> SpectralOperator:
        if name not in _RELEASED_TIMES:
            return PRIORS[name](quantities)
        tau = ReleasedTau(name, shared, key, quantities.width, rule)
        if name == "heat":
            return Heat(tau, 1.0, **quantities.grid)
        return Plate(tau, 1.0, **quantities.grid) if name == "wave" else _LearnedSpectrum(tau, **quantities.grid)

    return {name: released(name) for name in names}
