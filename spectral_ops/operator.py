"""The operator base class: anything diagonal under cosine, sine or real Fourier transforms of the axes."""

from __future__ import annotations

import functools
import inspect
from abc import ABC
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from spectral_ops._checks import check_floating, check_sizes, normalise_dims
from spectral_ops.apply import apply_gains, check_fields, no_autocast
from spectral_ops.boundaries import Boundaries, common, one_per_axis
from spectral_ops.eigenvalues import LAPLACIANS, Laplacian, laplacian_eigenvalues
from spectral_ops.grid import AxisQuantity, Grid, GridOptions, Pooled
from spectral_ops.holder import PerAxis, QuantityHolder, describe_quantity
from spectral_ops.scalars import as_float

__all__ = ["SpectralOperator"]


class SpectralOperator(QuantityHolder, ABC):
    r"""A linear operator that multiplies each mode of the Laplacian by a gain.

    A subclass declares its physical quantities with :meth:`add_quantity` and gives the gain as a function of the
    Laplacian eigenvalue in :meth:`multiplier`, or, where eigenvalues are not what it is made of, as a function of the
    grid in :meth:`raw_gain`; everything else (application, composition, conditioning, checks) is inherited. A new
    operator is ten lines::

        class Cauchy(SpectralOperator):
            '''u_t = -k (-lap)^(1/2) u, gain exp(-k sqrt(lambda)).'''

            def __init__(self, rate=1.0, **options: Unpack[GridOptions]):
                super().__init__(**options)
                self.add_quantity("rate", rate, minimum=0.0)

            def multiplier(self, eigenvalues, *, rate):
                return torch.exp(-rate * eigenvalues.sqrt())

    Args:
        dims: Spatial dimensions of the inputs, ``(-2, -1)`` for ``(B, C, H, W)`` and ``(1, 2)`` for ``(B, H, W, C)``.
        laplacian: ``"spectral"`` or ``"finite-difference"``, see
            :func:`~spectral_ops.eigenvalues.laplacian_eigenvalues`.
        boundary: ``"neumann"``, insulated walls and cosines; ``"dirichlet"``, walls held at zero and sines; or
            ``"periodic"``, ends that meet, and both. One, or one per dimension.
        spacing: Cell size, one number or one per dimension.

    Operators compose: ``A @ B`` applies B and then A; ``A + B``, ``A - B``, ``c * A``, ``A / c`` and ``sum([A, B])``
    superpose. Any expression costs one forward and one inverse transform, because only gains are combined.

    Raises:
        TypeError: The subclass has neither :meth:`multiplier` nor :meth:`raw_gain`.
        ValueError: A grid option is none of these.
    """

    #: Whether the gain is made of the eigenvalues of each axis instead of their sum. A subclass may say so; a quantity
    #: that is given per axis does.
    per_axis: bool = False

    #: How expressions are built, by the name of the node; :mod:`spectral_ops.composition` puts its classes here.
    nodes: ClassVar[dict[str, Callable[..., SpectralOperator]]] = {}

    def __init__(
        self,
        *,
        dims: int | Sequence[int] = (-2, -1),
        laplacian: Laplacian = "spectral",
        boundary: Boundaries = "neumann",
        spacing: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        own = type(self)
        if own.multiplier is SpectralOperator.multiplier and own.raw_gain is SpectralOperator.raw_gain:
            raise TypeError(f"{own.__name__} must define multiplier(eigenvalues, **quantities) or raw_gain(grid)")
        if laplacian not in LAPLACIANS:
            raise ValueError(f"laplacian must be one of {LAPLACIANS}, got {laplacian!r}")
        self.dims = normalise_dims(dims)
        self.laplacian: Laplacian = laplacian
        self.boundary: Boundaries = common(one_per_axis(boundary, len(self.dims)))
        laplacian_eigenvalues((1,) * len(self.dims), spacing=spacing)  # rejects a spacing that does not fit
        spacings = tuple(map(float, spacing)) if isinstance(spacing, Sequence) else (float(spacing),)
        self.spacing = common(spacings)

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

    def add_quantity(
        self,
        name: str,
        value: AxisQuantity,
        *,
        minimum: float | None = None,
        endless: bool = False,
        axes: bool = False,
    ) -> None:
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
            axes: Whether ``value`` may be a tuple or list of such, one for each of ``dims``. Where it is,
                :meth:`multiplier` gets a tuple of tensors, and the eigenvalues of each axis (:attr:`per_axis`).

        Raises:
            TypeError: ``value`` is none of these.
            ValueError: It is not finite or below ``minimum``, or there are not as many as dimensions.
        """
        if axes and isinstance(value, (tuple, list)):
            if len(value) != len(self.dims):
                raise ValueError(
                    f"{name} must be one quantity, or one for each of the {len(self.dims)} dimensions {self.dims}, got "
                    f"{len(value)}"
                )
            value, self.per_axis = PerAxis(name, value, minimum, endless), True
        self._add(name, value, minimum, endless)

    def multiplier(self, eigenvalues: Any, **quantities: Any) -> Tensor:
        """The gain for ``eigenvalues`` of shape ``(*sizes, 1)``, given every declared quantity by name.

        A gain without ``sizes``, a number or one for each channel, is that of every mode.

        Where :attr:`per_axis` is true ``eigenvalues`` is a tuple of such tensors, one for each of ``dims``.
        """
        raise NotImplementedError(f"{type(self).__name__} gives its gain by raw_gain(grid)")

    def _evaluate(self, grid: Grid) -> tuple[Any, dict[str, Any]]:
        """The eigenvalues ``(*sizes, 1)``, their sum or a tuple of those of each axis, and every quantity on a grid."""
        count = len(self.dims)
        spacing = self.spacing if isinstance(self.spacing, tuple) else (self.spacing,) * count
        boundary = one_per_axis(self.boundary, count)
        make = functools.partial(laplacian_eigenvalues, laplacian=self.laplacian, dtype=grid.dtype, device=grid.device)
        quantities = {name: self._quantity(name, grid) for name in self._bounds}
        if not self.per_axis:
            return make(grid.sizes, spacing=spacing, boundary=boundary).unsqueeze(-1), quantities
        lines = [make(n, spacing=h, boundary=b) for n, h, b in zip(grid.sizes, spacing, boundary, strict=True)]
        shapes = [[-1 if axis == i else 1 for axis in range(count + 1)] for i in range(count)]
        axes = (line.view(shape).expand(*grid.sizes, 1) for line, shape in zip(lines, shapes, strict=True))
        return tuple(axes), quantities

    def raw_gain(self, grid: Grid) -> Tensor:
        """The gain on a grid with an explicit channel dimension, ``([B,] *sizes, C or 1)``, in the grid's dtype.

        This is what operators are made of, and what expressions combine: override it where :meth:`multiplier` does not
        say it all. Users call :meth:`gain`.
        """
        eigenvalues, quantities = self._evaluate(grid)
        gain = self.multiplier(eigenvalues, **quantities)
        check_floating(gain, f"the result of {type(self).__name__}.multiplier")
        return gain

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
        with no_autocast(grid.device.type):
            gain = self.raw_gain(grid)
        check_floating(gain, f"the result of {type(self).__name__}.raw_gain")
        if gain.ndim < len(grid.sizes):  # a number, or one for each channel, is that of every mode
            gain = gain.expand(*grid.sizes, gain.shape[-1] if gain.ndim else 1)
        return drop_channel(gain, len(grid.sizes))

    def forward(self, x: Tensor, *, embedding: Tensor | None = None, pooled: Pooled = None) -> Tensor:
        """Apply the operator over ``dims``.

        Args:
            x: Real floating-point tensor of any shape; the channel dimension is the last one not in ``dims``.
            embedding: See :meth:`gain`.
            pooled: What an operator conditioned on its input takes for the input's mean, ``(C)`` or ``(B, C)``, or a
                function that returns it, called only where it is asked for. By default the mean of ``x``.

        Returns:
            Tensor of the shape and dtype of ``x``.
        """
        return self._superpose([(x, self)], embedding, pooled)

    def _superpose(
        self, terms: Sequence[tuple[Tensor, SpectralOperator]], embedding: Tensor | None, pooled: Pooled
    ) -> Tensor:
        """The sum of operators on this one's grid, each applied to a field of its own."""
        fields, operators = zip(*terms, strict=True)
        return self._apply_rows(fields, [operators], embedding, pooled)[0]

    def _apply_rows(
        self,
        fields: Sequence[Tensor],
        rows: Sequence[Sequence[SpectralOperator]],
        embedding: Tensor | None,
        pooled: Pooled = None,
    ) -> list[Tensor]:
        """For each row of operators on this one's grid the sum of what they make of the fields."""
        check_fields(fields)
        x = fields[0]
        dims = normalise_dims(self.dims, x.ndim)
        sizes = check_sizes([x.shape[d] for d in dims], "transformed sizes")
        _check_embedding(embedding, sizes)
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        grid = Grid(sizes, dtype, x.device, embedding, lambda: self._mean(x, dims, pooled))
        gains = [[op._gain_on(grid) for op in row] for row in rows]
        return apply_gains(fields, gains, dims, sizes, self.boundary)

    def _mean(self, x: Tensor, dims: tuple[int, ...], given: Pooled) -> Tensor | None:
        """What :attr:`Grid.pooled` is in a call; whether it is there is asked where it is read, not in every call."""
        if not self.input_conditioned:
            return None
        if given is None:
            return pool(x, dims)
        return given if isinstance(given, Tensor) else given()

    # -- algebra ----------------------------------------------------------------------------------------------------

    def __matmul__(self, other: object) -> SpectralOperator:
        return self.nodes["product"](self, other) if isinstance(other, SpectralOperator) else NotImplemented

    def __add__(self, other: object) -> SpectralOperator:
        return self.nodes["sum"](self, other) if isinstance(other, SpectralOperator) else NotImplemented

    def __radd__(self, other: object) -> SpectralOperator:
        return self if isinstance(other, int) and other == 0 else NotImplemented  # where sum() starts

    def __sub__(self, other: object) -> SpectralOperator:
        return self + (-1.0) * other if isinstance(other, SpectralOperator) else NotImplemented

    def __mul__(self, factor: object) -> SpectralOperator:
        scalable = isinstance(factor, Tensor) or as_float(factor) is not None
        return self.nodes["scaled"](self, factor) if scalable else NotImplemented

    def __truediv__(self, divisor: object) -> SpectralOperator:
        if (number := as_float(divisor)) is not None:
            return self * (1.0 / number)
        return NotImplemented  # tensors divide by themselves: their reciprocal is multiplied with this

    def __rmul__(self, factor: object) -> SpectralOperator:
        return self * factor

    def __neg__(self) -> SpectralOperator:
        return self * -1.0

    def __prepare_scriptable__(self) -> NoReturn:
        raise TypeError(
            "torch.jit.script, which torch itself deprecates, cannot compile spectral operators: use torch.export, "
            "torch.jit.trace or torch.onnx.export"
        )

    def __repr__(self) -> str:
        accepted = [name for name in inspect.signature(type(self)).parameters if name in self._bounds]
        names = accepted + [name for name in self._bounds if name not in accepted]
        arguments = [f"{name}={describe_quantity(getattr(self, name))}" for name in names]
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


def drop_channel(gain: Tensor, count: int) -> Tensor:
    """A gain on ``count`` axes without its channel where all are alike, for there may be none in the field."""
    return gain.squeeze(-1) if gain.shape[-1] == 1 and gain.ndim == count + 1 else gain


def pool(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The mean over every dimension but the channel and, where there is one, the batch."""
    others = [d for d in range(x.ndim) if d not in dims]
    if not others:
        raise ValueError(f"an operator conditioned on its input needs a channel dimension, got shape {tuple(x.shape)}")
    kept = {others[0], others[-1]}
    return x.mean([d for d in range(x.ndim) if d not in kept])
