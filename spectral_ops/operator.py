"""The operator base class: anything diagonal under the cosine or sine transform, and how it is applied."""

from __future__ import annotations

import contextlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import is_autocast_available

from spectral_ops import _fused
from spectral_ops._checks import check_floating, check_quantity, check_sizes, has_values, normalise_dims
from spectral_ops.eigenvalues import BOUNDARIES, LAPLACIANS, Boundary, Laplacian, laplacian_eigenvalues
from spectral_ops.transforms import Backend, Kind, transform

__all__ = ["Grid", "GridOptions", "Quantity", "SpectralOperator", "apply_gain", "superpose"]

#: Whether maps on a GPU go through one Triton kernel, which reads and writes them once, instead of through four matrix
#: products and a multiplication. Assign True to turn it on. It is off because it is not yet measured: its numbers were
#: checked by Triton's interpreter on the CPU, and tools/benchmark_gpu.py checks and measures it on a GPU. It needs
#: compute capability 8.0, and takes one contiguous field ``(B, H, W, C)`` with ``dims=(1, 2)``, sides up to 64, a gain
#: without batch dimension, and products in bfloat16, float16 or TF32. All else, and graphs for any size, keep to the
#: products.
FUSED = False

#: What a physical quantity may be: a constant, a tensor broadcastable to (H, W, C), or a module mapping a Grid to one.
Quantity = float | Tensor | nn.Module


class GridOptions(TypedDict, total=False):
    """Keyword arguments every operator accepts; see :class:`SpectralOperator`."""

    dims: int | Sequence[int]
    laplacian: Laplacian
    boundary: Boundary
    spacing: float | Sequence[float]


@dataclass(frozen=True)
class Grid:
    """Where a gain is asked for: passed to the modules that compute a physical quantity.

    Attributes:
        sizes: Number of cells along each transformed dimension.
        dtype: The dtype gains are computed in: float64 for float64 inputs, float32 otherwise.
        device: The device they are computed on.
        embedding: Optional spectral embedding ``(*sizes, C)`` handed to the call, for quantities predicted from it.
        pooled: The input's mean over the grid, ``(C)`` or ``(B, C)``, for quantities predicted from the input; None
            where no part of the operator asks for it (:attr:`SpectralOperator.input_conditioned`).
    """

    sizes: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    embedding: Tensor | None = None
    pooled: Tensor | None = None


class _Bounds(NamedTuple):
    minimum: float | None
    endless: bool


def _no_autocast(device_type: str) -> contextlib.AbstractContextManager[object]:
    """Leave autocast, but only where it is on, so that traced graphs stay free of the context."""
    # Dynamo cannot trace the query for availability, and never compiles for a device without autocast.
    available = torch.compiler.is_compiling() or is_autocast_available(device_type)
    if available and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


def _product_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which products of ``x`` run: its own or autocast's."""
    device = x.device.type
    available = torch.compiler.is_compiling() or is_autocast_available(device)
    if available and torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return x.dtype


def apply_gain(
    x: Tensor,
    gain: Tensor,
    dims: int | Sequence[int] = (-2, -1),
    *,
    boundary: Boundary = "neumann",
    backend: Backend = "auto",
) -> Tensor:
    """Transform, multiply by a gain, transform back: ``idctn(dctn(x) * gain)``.

    Args:
        x: Input of any shape. Its channel dimension is the last one not in ``dims``.
        gain: ``(*sizes)``, ``(*sizes, C)`` or, different for each sample, ``(B, *sizes, C)``; a size of 1 broadcasts.
        dims: The spatial dimensions.
        boundary: ``"neumann"`` for cosines, ``"dirichlet"`` for sines.
        backend: See :func:`~spectral_ops.transforms.dctn`.

    Returns:
        Tensor like ``x``.

    Example:
        >>> apply_gain(torch.randn(2, 3, 8, 8), torch.ones(8, 8, 3)).shape
        torch.Size([2, 3, 8, 8])
    """
    return superpose([(x, gain)], dims, boundary=boundary, backend=backend)


def superpose(
    terms: Sequence[tuple[Tensor, Tensor]],
    dims: int | Sequence[int] = (-2, -1),
    *,
    boundary: Boundary = "neumann",
    backend: Backend = "auto",
) -> Tensor:
    """The sum of several fields, each multiplied by its own gain, with one inverse transform for all.

    Args:
        terms: Pairs of a field and its gain, as in :func:`apply_gain`; the fields have one shape and dtype.
        dims, boundary, backend: As in :func:`apply_gain`.

    Raises:
        ValueError: The fields differ in shape or dtype.

    Example:
        >>> u, v = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
        >>> superpose([(u, torch.ones(8, 8)), (v, torch.zeros(8, 8))]).shape
        torch.Size([2, 3, 8, 8])
    """
    if not terms:
        raise ValueError("terms must hold at least one pair of field and gain")
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary must be one of {BOUNDARIES}, got {boundary!r}")
    fields, gains = zip(*terms, strict=True)
    _check_fields(fields)
    over = normalise_dims(dims, fields[0].ndim)
    sizes = check_sizes([fields[0].shape[d] for d in over], "transformed sizes")
    return _combine(fields, [gains], over, sizes, boundary, backend)[0]


def _check_fields(fields: Sequence[Tensor]) -> None:
    x = fields[0]
    for field in fields:
        check_floating(field)
        if field.shape != x.shape or field.dtype != x.dtype:
            raise ValueError(
                f"fields must share shape and dtype, got {tuple(x.shape)} {x.dtype} and {tuple(field.shape)} "
                f"{field.dtype}"
            )


def _combine(
    fields: Sequence[Tensor],
    rows: Sequence[Sequence[Tensor]],
    dims: tuple[int, ...],
    sizes: tuple[int, ...],
    boundary: Boundary,
    backend: Backend = "auto",
) -> list[Tensor]:
    """For each row of gains the sum of the fields times them; one forward transform per field, an inverse per row.

    Gains are checked here; fields and their ``dims``, none negative, of ``sizes``, were.
    """
    x = fields[0]
    kind: Kind = "cosine" if boundary == "neumann" else "sine"
    products = _product_dtype(x)
    if FUSED and backend == "auto" and len(fields) == len(rows) == 1:
        gain = _align(rows[0][0], x, dims)
        if _fused.fits(x, gain, dims, products):
            return [_fused.apply(x, gain[0], boundary, products)]
    half = products == torch.float16
    spectra = [transform(kind, field, dims, sizes, backend) for field in fields]
    if half:  # a gain and the amplitudes it gives may be beyond float16 where the field is not, as Poisson's low modes
        spectra = [spectrum.float() for spectrum in spectra]
    results = []
    for gains in rows:
        total = None
        for spectrum, gain in zip(spectra, gains, strict=True):
            term = spectrum * _align(gain, x, dims).to(spectrum.dtype)
            total = term if total is None else total + term
        assert total is not None
        with _no_autocast(x.device.type) if half else contextlib.nullcontext():
            results.append(transform(kind, total, dims, sizes, backend, inverse=True).to(x.dtype))
    return results


def _align(gain: Tensor, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """View a gain ``([B,] *sizes [, C])`` so that it broadcasts against ``x``."""
    check_floating(gain, "gain")
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
    if layout != sorted(layout):
        gain = gain.permute(sorted(range(len(layout)), key=layout.__getitem__))
    missing = [d for d in range(x.ndim) if d not in layout]
    for d in missing:
        gain = gain.unsqueeze(d)
    return gain


class SpectralOperator(nn.Module, ABC):
    r"""A linear operator that multiplies each mode of the Laplacian by a gain.

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
        boundary: ``"neumann"``, insulated walls and cosines, or ``"dirichlet"``, walls held at zero and sines.
        spacing: Cell size, one number or one per dimension.

    Operators compose: ``A @ B`` applies B and then A; ``A + B``, ``A - B`` and ``c * A`` superpose. Any expression
    costs one forward and one inverse transform, because only gains are combined.
    """

    def __init__(
        self,
        *,
        dims: int | Sequence[int] = (-2, -1),
        laplacian: Laplacian = "spectral",
        boundary: Boundary = "neumann",
        spacing: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        if laplacian not in LAPLACIANS:
            raise ValueError(f"laplacian must be one of {LAPLACIANS}, got {laplacian!r}")
        if boundary not in BOUNDARIES:
            raise ValueError(f"boundary must be one of {BOUNDARIES}, got {boundary!r}")
        self.dims = normalise_dims(dims)
        self.laplacian: Laplacian = laplacian
        self.boundary: Boundary = boundary
        laplacian_eigenvalues((1,) * len(self.dims), spacing=spacing)  # rejects a spacing that does not fit
        spacings = tuple(map(float, spacing)) if isinstance(spacing, Sequence) else (float(spacing),)
        self.spacing = spacings[0] if len(set(spacings)) == 1 else spacings  # one form, for expressions compare it
        self._bounds: dict[str, _Bounds] = {}

    @property
    def grid_options(self) -> GridOptions:
        """The keyword arguments this operator was given for its grid."""
        return {
            "dims": self.dims,
            "laplacian": self.laplacian,
            "boundary": self.boundary,
            "spacing": self.spacing,
        }

    @property
    def input_conditioned(self) -> bool:
        """Whether the gain depends on the input, as a part says by a true attribute ``needs_input``."""
        return any(getattr(module, "needs_input", False) for module in self.modules())

    @property
    def embedding_conditioned(self) -> bool:
        """Whether the gain depends on a spectral embedding, as a part says by a true attribute ``needs_embedding``."""
        return any(getattr(module, "needs_embedding", False) for module in self.modules())

    def add_quantity(self, name: str, value: Quantity, *, minimum: float | None = None, endless: bool = False) -> None:
        """Declare a physical quantity, passed to :meth:`multiplier` by name.

        Args:
            name: Attribute and keyword name.
            value: A float stays a constant of the operator (exact in every dtype, not in the state dict); a tensor,
                broadcastable to ``(*sizes, C)``, becomes a buffer; an ``nn.Parameter`` a parameter; a module is called
                with the :class:`Grid` and returns such a tensor (see :mod:`spectral_ops.quantities`).
            minimum: Smallest value allowed. Floats and tensors are checked here, modules by their attribute
                ``minimum`` where they have one. A bare ``nn.Parameter`` can leave the range in training: use
                :class:`~spectral_ops.quantities.Softplus` to keep it there.
            endless: Whether the float ``inf`` is a value, for times with a limit.

        Raises:
            TypeError: ``value`` is none of these.
            ValueError: It is not finite or below ``minimum``.
        """
        if isinstance(value, bool) or not isinstance(value, (int, float, Tensor, nn.Module)):
            raise TypeError(f"{name} must be a float, a tensor, an nn.Parameter or an nn.Module, got {value!r}")
        if isinstance(value, Tensor):
            check_floating(value, name)
        if not isinstance(value, nn.Module):
            check_quantity(name, value, minimum, endless=endless)
        else:
            lowest = getattr(value, "minimum", None)
            if minimum is not None and isinstance(lowest, float) and lowest < minimum:
                raise ValueError(f"{name} must be >= {minimum:g}, got {value!r}, which may be {lowest:g}")
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            self.register_buffer(name, value)
        else:
            setattr(self, name, value)
        self._bounds[name] = _Bounds(minimum, endless)

    def _quantity(self, name: str, grid: Grid) -> Tensor:
        value = getattr(self, name)
        if isinstance(value, nn.Module):
            value = value(grid)
        elif not isinstance(value, Tensor):
            bounds = self._bounds[name]  # checked again: it may have been assigned to since it was declared
            check_quantity(name, value, bounds.minimum, endless=bounds.endless)
            return torch.full((), value, dtype=grid.dtype, device=grid.device)
        quantity: Tensor = value.to(grid.dtype)
        return quantity

    @abstractmethod
    def multiplier(self, eigenvalues: Tensor, **quantities: Tensor) -> Tensor:
        """The gain for ``eigenvalues`` of shape ``(*sizes, 1)``, given every declared quantity by name."""

    def _evaluate(self, grid: Grid) -> tuple[Tensor, dict[str, Tensor]]:
        """The eigenvalues ``(*sizes, 1)`` and every quantity on a grid."""
        eigenvalues = laplacian_eigenvalues(
            grid.sizes,
            spacing=self.spacing,
            laplacian=self.laplacian,
            boundary=self.boundary,
            dtype=grid.dtype,
            device=grid.device,
        )
        return eigenvalues.unsqueeze(-1), {name: self._quantity(name, grid) for name in self._bounds}

    def _gain(self, grid: Grid) -> Tensor:
        """The gain with an explicit channel dimension, ``([B,] *sizes, C or 1)``."""
        eigenvalues, quantities = self._evaluate(grid)
        return self.multiplier(eigenvalues, **quantities)

    def gain(
        self,
        sizes: int | Sequence[int],
        *,
        embedding: Tensor | None = None,
        pooled: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """The multiplier itself on a grid of ``sizes``.

        Its shape is ``(*sizes)``, ``(*sizes, C)`` where channels differ, or ``(B, *sizes, C)`` where samples do.

        Args:
            sizes: Number of cells along each dimension of ``dims``.
            embedding: Spectral embedding ``(*sizes, C)`` for operators whose quantities are predicted from one.
            pooled: An input's mean over the grid, ``(C)`` or ``(B, C)``, for operators conditioned on the input.
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
        if pooled is not None:
            check_floating(pooled, "pooled")
            if pooled.ndim not in (1, 2):
                raise ValueError(f"pooled must have shape (C) or (B, C), got {tuple(pooled.shape)}")
        _check_embedding(embedding, sizes)
        if device is None:
            owned: Tensor | None = next((t for t in (*self.parameters(), *self.buffers())), None)
            device = torch.device("cpu") if owned is None else owned.device
        return self._gain_on(Grid(sizes, dtype, torch.device(device), embedding, pooled))

    def _gain_on(self, grid: Grid) -> Tensor:
        with _no_autocast(grid.device.type):
            gain = self._gain(grid)
        return gain.squeeze(-1) if gain.shape[-1] == 1 and gain.ndim == len(grid.sizes) + 1 else gain

    def forward(self, x: Tensor, *, embedding: Tensor | None = None) -> Tensor:
        """Apply the operator over ``dims``.

        Args:
            x: Real floating-point tensor of any shape; the channel dimension is the last one not in ``dims``.
            embedding: See :meth:`gain`.

        Returns:
            Tensor of the shape and dtype of ``x``.
        """
        return self._superpose([(x, self)], embedding)

    def _superpose(self, terms: Sequence[tuple[Tensor, SpectralOperator]], embedding: Tensor | None) -> Tensor:
        """The sum of operators on this one's grid, each applied to a field of its own."""
        fields, operators = zip(*terms, strict=True)
        return self._apply_rows(fields, [operators], embedding)[0]

    def _apply_rows(
        self, fields: Sequence[Tensor], rows: Sequence[Sequence[SpectralOperator]], embedding: Tensor | None
    ) -> list[Tensor]:
        """For each row of operators on this one's grid the sum of what they make of the fields."""
        _check_fields(fields)
        x = fields[0]
        dims = normalise_dims(self.dims, x.ndim)
        sizes = check_sizes([x.shape[d] for d in dims], "transformed sizes")
        _check_embedding(embedding, sizes)
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        pooled = _pool(x, dims) if self.input_conditioned else None
        grid = Grid(sizes, dtype, x.device, embedding, pooled)
        gains = [[op._gain_on(grid) for op in row] for row in rows]
        return _combine(fields, gains, dims, sizes, self.boundary)

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
        accepted = [name for name in inspect.signature(type(self)).parameters if name in self._bounds]
        names = accepted + [name for name in self._bounds if name not in accepted]
        arguments = [f"{name}={_describe(getattr(self, name))}" for name in names]
        defaults: dict[str, Any] = {
            "dims": (-2, -1),
            "laplacian": "spectral",
            "boundary": "neumann",
            "spacing": 1.0,
        }
        arguments += [f"{k}={v!r}" for k, v in self.grid_options.items() if v != defaults[k]]
        return f"{type(self).__name__}({', '.join(arguments)})"


def _check_embedding(embedding: Tensor | None, sizes: tuple[int, ...]) -> None:
    if embedding is None:
        return
    check_floating(embedding, "embedding")
    if tuple(embedding.shape[:-1]) != sizes:
        raise ValueError(f"embedding must have shape (*{sizes}, C), got {tuple(embedding.shape)}")


def _pool(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The mean over every dimension but the channel and, where there is one, the batch."""
    others = [d for d in range(x.ndim) if d not in dims]
    if not others:
        raise ValueError(f"an operator conditioned on its input needs a channel dimension, got shape {tuple(x.shape)}")
    kept = {others[0], others[-1]}
    return x.mean([d for d in range(x.ndim) if d not in kept])


def _describe(value: Quantity) -> str:
    if isinstance(value, Tensor):
        kind = "Parameter" if isinstance(value, nn.Parameter) else "Tensor"
        return f"{value.item():g}" if value.numel() == 1 and has_values(value) else f"{kind}{list(value.shape)}"
    return repr(value) if isinstance(value, nn.Module) else f"{value:g}"
