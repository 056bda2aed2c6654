"""Expressions of operators. Each node combines the gains of its parts and so stays in the spectrum."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from spectral_ops.boundaries import one_per_axis
from spectral_ops.grid import Grid, Quantity
from spectral_ops.holder import describe_quantity
from spectral_ops.operator import SpectralOperator
from spectral_ops.quantities import Constant
from spectral_ops.scalars import as_int

__all__ = ["Mixture", "Product", "Scaled", "Sum", "Wrapper"]


class _Expression(SpectralOperator):
    """An operator made of operators that share their dims (as given), Laplacian, boundary and spacing."""

    def __init__(self, *terms: SpectralOperator) -> None:
        if not terms:
            raise ValueError("an expression needs at least one operator")
        for term in terms:
            if not isinstance(term, SpectralOperator):
                raise TypeError(f"expressions combine spectral operators, got {type(term).__name__}")
            if term.grid_options != terms[0].grid_options:
                raise ValueError(
                    f"operators of one expression must share dims, laplacian, boundary and spacing, got "
                    f"{terms[0].grid_options} and {term.grid_options}{_difference(terms[0], term)}"
                )
        super().__init__(**terms[0].grid_options)
        self.terms: Sequence[SpectralOperator] = nn.ModuleList(terms)  # type: ignore[assignment]

    def _gains(self, grid: Grid) -> list[Tensor]:
        return [term.raw_gain(grid) for term in self.terms]


def _difference(one: SpectralOperator, other: SpectralOperator) -> str:
    """On which of the dimensions that they share their walls are not the same."""
    if one.dims != other.dims:
        return ""
    count = len(one.dims)
    walls = zip(one.dims, *(one_per_axis(each.boundary, count) for each in (one, other)), strict=True)
    return "".join(f"; boundary of dimension {d}: {a!r} and {b!r}" for d, a, b in walls if a != b)


class Wrapper(_Expression):
    """Base of operators derived from one other, whose quantities they share."""

    def __init__(self, operator: SpectralOperator) -> None:
        super().__init__(operator)

    @property
    def inner(self) -> SpectralOperator:
        """The operator it is derived from."""
        return self.terms[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"


class Sum(_Expression):
    """``A + B + ...``: superposition. Sums of sums are flattened.

    Example:
        >>> from spectral_ops import Heat
        >>> Heat(0.1) + 2 * Heat(0.2)
        Heat(diffusivity=0.1, time=1) + 2 * Heat(diffusivity=0.2, time=1)
    """

    def __init__(self, *terms: SpectralOperator) -> None:
        super().__init__(*(part for term in terms for part in (term.terms if isinstance(term, Sum) else (term,))))

    def raw_gain(self, grid: Grid) -> Tensor:
        first, *rest = self._gains(grid)
        for gain in rest:
            first = first + gain
        return first

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.terms))


class Product(_Expression):
    """``A @ B @ ...``: composition, the last applied first. Products of products are flattened."""

    def __init__(self, *terms: SpectralOperator) -> None:
        super().__init__(*(part for term in terms for part in (term.terms if isinstance(term, Product) else (term,))))

    def raw_gain(self, grid: Grid) -> Tensor:
        total: Tensor | None = None
        for term in reversed(self.terms):  # in the order they are applied
            gain = term.raw_gain(grid if total is None else self._after(total, grid))
            total = gain if total is None else gain * total
        assert total is not None
        return total

    def _after(self, gain: Tensor, grid: Grid) -> Grid:
        """The grid with the mean that the input has once ``gain`` is applied: the mean is the constant mode."""

        def pooled() -> Tensor | None:
            if grid.pooled is None:
                return None
            if "dirichlet" in one_per_axis(self.boundary, len(self.dims)):
                raise ValueError(
                    f"{self!r}: behind cold walls an operator conditioned on its input can only be the first one "
                    f"applied, the rightmost, because the mean of what reaches the others is not one mode"
                )
            if gain.ndim < len(grid.sizes):  # a number, or one for each channel: that of every mode
                return grid.pooled * gain
            return grid.pooled * gain.flatten(-len(grid.sizes) - 1, -2)[..., 0, :]

        return grid.with_pooled(pooled)

    def __repr__(self) -> str:
        return " @ ".join(f"({t!r})" if isinstance(t, (Sum, Scaled)) else repr(t) for t in self.terms)


class Scaled(_Expression):
    """``c * A`` with ``c`` a float, a tensor broadcastable to ``(*sizes, C)``, a parameter, or a module of the grid."""

    def __init__(self, operator: SpectralOperator, factor: Quantity) -> None:
        super().__init__(operator)
        self.add_quantity("factor", factor)

    def raw_gain(self, grid: Grid) -> Tensor:
        factor: Tensor = self._quantity("factor", grid)
        return factor * self._gains(grid)[0]

    def __repr__(self) -> str:
        (term,) = self.terms
        return f"{describe_quantity(self.factor)} * " + (f"({term!r})" if isinstance(term, Sum) else repr(term))


class Mixture(_Expression):
    """Weighted superposition of K operators, ``sum_i w_i A_i``.

    Args:
        operators: The K operators.
        weights: K floats, or ``(K, ...)`` with the rest broadcastable to ``(*sizes, C)`` as a tensor, an
            ``nn.Parameter``, or a module mapping the :class:`Grid` to such a tensor, of which an attribute ``count``
            says K where it has one.

    Raises:
        ValueError: The first dimension of ``weights`` is not K.

    Example:
        >>> import torch
        >>> from spectral_ops import Heat
        >>> mixture = Mixture([Heat(0.1), Heat(1.0)], weights=nn.Parameter(torch.rand(2, 16)))
        >>> mixture.gain((8, 8)).shape
        torch.Size([8, 8, 16])
    """

    def __init__(self, operators: Sequence[SpectralOperator], weights: Sequence[float] | Tensor | nn.Module) -> None:
        super().__init__(*operators)
        if not isinstance(weights, (Tensor, nn.Module)):
            weights = Constant(weights, "weights")
            self._check((len(weights.values),))
        if isinstance(weights, Tensor):
            self._check(tuple(weights.shape))
        elif (count := as_int(getattr(weights, "count", None))) is not None:
            self._check((count,))
        self.add_quantity("weights", weights)

    def _check(self, shape: tuple[int, ...]) -> None:
        if not shape or shape[0] != len(self.terms):
            raise ValueError(
                f"weights must have {len(self.terms)} entries along their first dimension, one per operator, "
                f"got shape {shape}"
            )

    def raw_gain(self, grid: Grid) -> Tensor:
        weights: Tensor = self._quantity("weights", grid)
        self._check(tuple(weights.shape))
        first, *rest = (w * gain for w, gain in zip(weights.unbind(0), self._gains(grid), strict=True))
        for term in rest:
            first = first + term
        return first

    def __repr__(self) -> str:
        return f"Mixture([{', '.join(map(repr, self.terms))}], weights={describe_quantity(self.weights)})"


SpectralOperator.nodes.update(product=Product, sum=Sum, scaled=Scaled)
