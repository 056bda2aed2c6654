"""The operator base class: anything diagonal under the cosine transform, and how it is applied."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import is_autocast_available

from spectral_ops._checks import check_floating, check_quantity, check_sizes, has_values, normalise_dims
from spectral_ops.eigenvalues import LAPLACIANS, Laplacian, laplacian_eigenvalues
from spectral_ops.transforms import dctn, idctn

__all__ = ["Grid", "GridOptions", "Quantity", "SpectralOperator", "apply_gain"]

#: What a physical quantity may be: a constant, a tensor broadcastable to (H, W, C), or a module mapping a Grid to one.
Quantity = float | Tensor | nn.Module


class GridOptions(TypedDict, total=False):
    """Keyword arguments every operator accepts; see :class:`SpectralOperator`."""

    dims: int | Sequence[int]
    laplacian: Laplacian
    spacing: float | Sequence[float]


@dataclass(frozen=True)
class Grid:
    """Where a gain is asked for: passed to the modules that compute a physical quantity.

    Attributes:
        sizes: Number of cells along each transformed dimension.
        dtype: The dtype gains are computed in: float64 for float64 inputs, float32 otherwise.
        device: The device they are computed on.
        embedding: Optional spectral embedding ``(*sizes, C)`` handed to the call, for quantities predicted from it.
    """

    sizes: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    embedding: Tensor | None = None


def _no_autocast(device_type: str) -> contextlib.AbstractContextManager[object]:
    """Leave autocast, but only where it is on, so that traced graphs stay free of the context."""
    # Dynamo cannot trace the query for availability, and never compiles for a device without autocast.
    available = torch.compiler.is_compiling() or is_autocast_available(device_type)
    if available and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


def apply_gain(x: Tensor, gain: Tensor, dims: int | Sequence[int] = (-2, -1)) -> Tensor:
    """Transform, multiply by a gain, transform back: ``idctn(dctn(x) * gain)``.

    Args:
        x: Input of any shape. Its channel dimension is the last one not in ``dims``.
        gain: ``(*sizes)``, ``(*sizes, C)`` or, different for each sample, ``(B, *sizes, C)``; a size of 1 broadcasts.
        dims: The spatial dimensions.

    Returns:
        Tensor like ``x``.

    Example:
        >>> apply_gain(torch.randn(2, 3, 8, 8), torch.ones(8, 8, 3)).shape
        torch.Size([2, 3, 8, 8])
    """
    check_floating(x)
    check_floating(gain, "gain")
    dims = normalise_dims(dims, x.ndim)
    spectrum = dctn(x, dims)
    aligned = _align(gain, x, dims).to(spectrum.dtype)
    return idctn(spectrum * aligned, dims)


def _align(gain: Tensor, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """View a gain ``([B,] *sizes [, C])`` so that it broadcasts against ``x``."""
    k = len(dims)
    others = [d for d in range(x.ndim) if d not in dims]
    layout = {k: list(dims), k + 1: [*dims, *others[-1:]], k + 2: [*others[:1], *dims, *others[-1:]]}.get(gain.ndim, [])
    if len(layout) != gain.ndim or len(set(layout)) != len(layout):
        raise ValueError(
            f"gain must have shape (*sizes), (*sizes, C) or (B, *sizes, C) for a {x.ndim}-dimensional input "
            f"transformed over {dims}, got {tuple(gain.shape)}"
        )
    for size, d in zip(gain.shape, layout, strict=True):
        if size != 1 and size != x.shape[d]:  # not `in`, which fails on symbolic sizes
            raise ValueError(
                f"gain of shape {tuple(gain.shape)} does not broadcast to an input of shape {tuple(x.shape)} "
                f"transformed over dims {dims}: {size} against {x.shape[d]} in dimension {d}"
            )
    order = sorted(range(len(layout)), key=layout.__getitem__)
    gain = gain.permute(order)
    missing = [d for d in range(x.ndim) if d not in layout]
    for d in missing:
        gain = gain.unsqueeze(d)
    return gain


class SpectralOperator(nn.Module, ABC):
    r"""A linear operator that multiplies each cosine mode by a gain.

    A subclass declares its physical quantities with :meth:`add_quantity` and gives the gain as a function of the
    Laplacian eigenvalue in :meth:`multiplier`; everything else (application, composition, conditioning, checks) is
    inherited. A new operator is ten lines::

        class Cauchy(SpectralOperator):
            '''u_t = -k (-lap)^(1/2) u, gain exp(-k sqrt(lambda)).'''

            def __init__(self, rate=1.0, **grid: Unpack[GridOptions]):
                super().__init__(**grid)
                self.add_quantity("rate", rate, minimum=0.0)

            def multiplier(self, eigenvalues, *, rate):
                return torch.exp(-rate * eigenvalues.sqrt())

    Args:
        dims: Spatial dimensions of the inputs, ``(-2, -1)`` for ``(B, C, H, W)`` and ``(1, 2)`` for ``(B, H, W, C)``.
        laplacian: ``"spectral"`` or ``"finite-difference"``, see
            :func:`~spectral_ops.eigenvalues.laplacian_eigenvalues`.
        spacing: Cell size, one number or one per dimension.

    Operators compose: ``A @ B`` applies B and then A; ``A + B``, ``A - B`` and ``c * A`` superpose. Any expression
    costs one forward and one inverse transform, because only gains are combined.
    """

    def __init__(
        self,
        *,
        dims: int | Sequence[int] = (-2, -1),
        laplacian: Laplacian = "spectral",
        spacing: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        if laplacian not in LAPLACIANS:
            raise ValueError(f"laplacian must be one of {LAPLACIANS}, got {laplacian!r}")
        self.dims = normalise_dims(dims)
        self.laplacian: Laplacian = laplacian
        laplacian_eigenvalues((1,) * len(self.dims), spacing=spacing)  # rejects a spacing that does not fit
        spacings = tuple(map(float, spacing)) if isinstance(spacing, Sequence) else (float(spacing),)
        self.spacing = spacings[0] if len(set(spacings)) == 1 else spacings  # one form, for expressions compare it
        self._bounds: dict[str, float | None] = {}

    @property
    def grid_options(self) -> GridOptions:
        """The keyword arguments this operator was given for its grid."""
        return {"dims": self.dims, "laplacian": self.laplacian, "spacing": self.spacing}

    def add_quantity(self, name: str, value: Quantity, *, minimum: float | None = None) -> None:
        """Declare a physical quantity, passed to :meth:`multiplier` by name.

        Args:
            name: Attribute and keyword name.
            value: A float stays a constant of the operator (exact in every dtype, not in the state dict); a tensor,
                broadcastable to ``(*sizes, C)``, becomes a buffer; an ``nn.Parameter`` a parameter; a module is called
                with the :class:`Grid` and returns such a tensor (see :mod:`spectral_ops.quantities`).
            minimum: Smallest value allowed. Floats and tensors are checked here. A bare ``nn.Parameter`` can leave
                the range in training: use :class:`~spectral_ops.quantities.Softplus` to keep it there.

        Raises:
            TypeError: ``value`` is none of these.
            ValueError: It is not finite or below ``minimum``.
        """
        if isinstance(value, bool) or not isinstance(value, (int, float, Tensor, nn.Module)):
            raise TypeError(f"{name} must be a float, a tensor, an nn.Parameter or an nn.Module, got {value!r}")
        if isinstance(value, Tensor):
            check_floating(value, name)
        if not isinstance(value, nn.Module):
            check_quantity(name, value, minimum)
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            self.register_buffer(name, value)
        else:
            setattr(self, name, value)
        self._bounds[name] = minimum

    def _quantity(self, name: str, grid: Grid) -> Tensor:
        value = getattr(self, name)
        if isinstance(value, nn.Module):
            value = value(grid)
        elif not isinstance(value, Tensor):
            check_quantity(name, value, self._bounds[name])  # it may have been assigned to since it was declared
            return torch.full((), value, dtype=grid.dtype, device=grid.device)
        quantity: Tensor = value.to(grid.dtype)
        return quantity

    @abstractmethod
    def multiplier(self, eigenvalues: Tensor, **quantities: Tensor) -> Tensor:
        """The gain for ``eigenvalues`` of shape ``(*sizes, 1)``, given every declared quantity by name."""

    def _gain(self, grid: Grid) -> Tensor:
        """The gain with an explicit channel dimension, ``([B,] *sizes, C or 1)``."""
        eigenvalues = laplacian_eigenvalues(
            grid.sizes, spacing=self.spacing, laplacian=self.laplacian, dtype=grid.dtype, device=grid.device
        )
        quantities = {name: self._quantity(name, grid) for name in self._bounds}
        return self.multiplier(eigenvalues.unsqueeze(-1), **quantities)

    def gain(
        self,
        sizes: int | Sequence[int],
        *,
        embedding: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """The multiplier itself on a grid of ``sizes``: shape ``(*sizes)``, or ``(*sizes, C)`` where channels differ.

        Args:
            sizes: Number of cells along each dimension of ``dims``.
            embedding: Spectral embedding ``(*sizes, C)`` for operators whose quantities are predicted from one.
            dtype: ``torch.float32`` or ``torch.float64``.
            device: By default that of the operator's parameters, else the CPU.

        Example:
            >>> from spectral_ops import Heat
            >>> Heat(diffusivity=0.3).gain((4, 6)).shape
            torch.Size([4, 6])
        """
        sizes = check_sizes(sizes)
        if len(sizes) != len(self.dims):
            raise ValueError(f"sizes must have one entry per transformed dimension of {self.dims}, got {sizes}")
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"gains are computed in torch.float32 or torch.float64, got {dtype}")
        if embedding is not None:
            check_floating(embedding, "embedding")
        if embedding is not None and tuple(embedding.shape[:-1]) != sizes:
            raise ValueError(f"embedding must have shape (*{sizes}, C), got {tuple(embedding.shape)}")
        if device is None:
            owned: Tensor | None = next((t for t in (*self.parameters(), *self.buffers())), None)
            device = torch.device("cpu") if owned is None else owned.device
        device = torch.device(device)
        with _no_autocast(device.type):
            gain = self._gain(Grid(sizes, dtype, device, embedding))
        return gain.squeeze(-1) if gain.shape[-1] == 1 and gain.ndim == len(sizes) + 1 else gain

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Apply the operator over ``dims``.

        Args:
            x: Real floating-point tensor of any shape; the channel dimension is the last one not in ``dims``.
            embedding: See :meth:`gain`.

        Returns:
            Tensor of the shape and dtype of ``x``.
        """
        check_floating(x)
        dims = normalise_dims(self.dims, x.ndim)
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        gain = self.gain([x.shape[d] for d in dims], embedding=embedding, dtype=dtype, device=x.device)
        return apply_gain(x, gain, dims)

    # -- algebra; the nodes live in composition.py, which needs this class ------------------------------------------

    def __matmul__(self, other: object) -> SpectralOperator:
        from spectral_ops.composition import Product

        return Product(self, other) if isinstance(other, SpectralOperator) else NotImplemented

    def __add__(self, other: object) -> SpectralOperator:
        from spectral_ops.composition import Sum

        return Sum(self, other) if isinstance(other, SpectralOperator) else NotImplemented

    def __sub__(self, other: object) -> SpectralOperator:
        return self + (-1.0) * other if isinstance(other, SpectralOperator) else NotImplemented

    def __mul__(self, factor: object) -> SpectralOperator:
        from spectral_ops.composition import Scaled

        scalable = isinstance(factor, (int, float, Tensor)) and not isinstance(factor, bool)
        return Scaled(self, factor) if scalable else NotImplemented  # type: ignore[arg-type]

    def __rmul__(self, factor: object) -> SpectralOperator:
        return self * factor

    def __neg__(self) -> SpectralOperator:
        return self * -1.0

    def __repr__(self) -> str:
        arguments = [f"{name}={_describe(getattr(self, name))}" for name in self._bounds]
        defaults: dict[str, Any] = {"dims": (-2, -1), "laplacian": "spectral", "spacing": 1.0}
        arguments += [f"{k}={v!r}" for k, v in self.grid_options.items() if v != defaults[k]]
        return f"{type(self).__name__}({', '.join(arguments)})"


def _describe(value: Quantity) -> str:
    if isinstance(value, Tensor):
        kind = "Parameter" if isinstance(value, nn.Parameter) else "Tensor"
        return f"{value.item():g}" if value.numel() == 1 and has_values(value) else f"{kind}{list(value.shape)}"
    return repr(value) if isinstance(value, nn.Module) else f"{value:g}"
