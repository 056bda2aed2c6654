"""Modules that hold physical quantities: constants, tensors, parameters, or modules that compute them on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spectral_ops._checks import check_floating, check_quantity, has_values
from spectral_ops.grid import Grid, Quantity
from spectral_ops.scalars import as_float

__all__ = ["PerAxis", "QuantityHolder", "describe_quantity"]


class _Bounds(NamedTuple):
    minimum: float | None
    endless: bool


class QuantityHolder(nn.Module):
    """Base of what has physical quantities."""

    def __init__(self) -> None:
        super().__init__()
        self._bounds: dict[str, _Bounds] = {}

    def _add(self, name: str, value: Any, minimum: float | None, endless: bool) -> None:
        """Keep a quantity as the attribute ``name``; see :meth:`~spectral_ops.SpectralOperator.add_quantity`."""
        label = self._label(name)
        if not isinstance(value, (Tensor, nn.Module)):
            value = _number(label, value)
        if isinstance(value, Tensor):
            check_floating(value, label)
        if not isinstance(value, nn.Module):
            check_quantity(label, value, minimum, endless=endless)
        else:
            lowest = getattr(value, "minimum", None)
            if minimum is not None and isinstance(lowest, float) and lowest < minimum:
                raise ValueError(f"{label} must be >= {minimum:g}, got {value!r}, which may be {lowest:g}")
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            self.register_buffer(name, value)
        else:
            setattr(self, name, value)
        self._bounds[name] = _Bounds(minimum, endless)

    def positive_modules(self) -> list[str]:
        """Names of the quantities that modules compute and that must not be negative."""
        modules = [name for name in self._bounds if isinstance(getattr(self, name), nn.Module)]
        return [n for n in modules if self._bounds[n].minimum == 0.0 and not isinstance(getattr(self, n), PerAxis)]

    def positive_parameters(self) -> list[str]:
        """Names of the quantities that are parameters and must not be negative."""
        return [
            n for n in self._bounds if self._bounds[n].minimum == 0.0 and isinstance(getattr(self, n), nn.Parameter)
        ]

    def _label(self, name: str) -> str:
        """What errors call a quantity."""
        return name

    def _quantity(self, name: str, grid: Grid) -> Any:
        """Its value on a grid: a tensor, or a tuple of one for each axis."""
        value = getattr(self, name)
        if isinstance(value, PerAxis):
            return value(grid)
        if isinstance(value, nn.Module):
            value = value(grid)
        elif not isinstance(value, Tensor):
            bounds = self._bounds[name]  # checked again: it may have been assigned to since it was declared
            value = _number(self._label(name), value)
            check_quantity(self._label(name), value, bounds.minimum, endless=bounds.endless)
            return torch.full((), value, dtype=grid.dtype, device=grid.device)
        quantity: Tensor = value.to(grid.dtype)
        return quantity


def _number(label: str, value: Any) -> float:
    number = as_float(value)
    if number is None:
        raise TypeError(f"{label} must be a float, a tensor, an nn.Parameter or an nn.Module, got {value!r}")
    return number


class PerAxis(QuantityHolder):
    """One quantity per axis: called with the :class:`~spectral_ops.Grid` it returns a tuple of tensors.

    Args:
        title: What errors call it; the quantity of the first axis is ``title[0]``.
        values: One quantity for each axis.
        minimum, endless: See :meth:`~spectral_ops.SpectralOperator.add_quantity`.
    """

    def __init__(self, title: str, values: Sequence[Quantity], minimum: float | None, endless: bool) -> None:
        super().__init__()
        self.title = title
        for axis, value in enumerate(values):
            self._add(str(axis), value, minimum, endless)

    def _label(self, name: str) -> str:
        return f"{self.title}[{name}]"

    def __getitem__(self, axis: int) -> Quantity:
        value: Quantity = getattr(self, str(range(len(self._bounds))[axis]))
        return value

    def forward(self, grid: Grid) -> tuple[Tensor, ...]:
        return tuple(self._quantity(name, grid) for name in self._bounds)

    def __repr__(self) -> str:
        values = [describe_quantity(getattr(self, name)) for name in self._bounds]
        return f"({', '.join(values)}{',' if len(values) == 1 else ''})"


def describe_quantity(value: Quantity) -> str:
    """How a quantity looks in the ``repr`` of an operator."""
    if isinstance(value, Tensor):
        kind = "Parameter" if isinstance(value, nn.Parameter) else "Tensor"
        return f"{value.item():g}" if value.numel() == 1 and has_values(value) else f"{kind}{list(value.shape)}"
    return repr(value) if isinstance(value, nn.Module) else f"{value:g}"
