"""Pictures of an operator: its gain as a spectrum, a radial profile and a spatial kernel, and a field over time.

Needs matplotlib. Every function draws into the axes given, or into a new figure, and returns
the axes, so that pictures can be combined and saved as usual.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spectral_ops._checks import check_floating, check_sizes
from spectral_ops.apply import apply_gain
from spectral_ops.boundaries import one_per_axis
from spectral_ops.eigenvalues import laplacian_eigenvalues
from spectral_ops.operator import SpectralOperator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["film", "kernel", "radial_profile", "spectrum"]


def _axes(axes: Axes | None) -> Axes:
    if axes is not None:
        return axes
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


@torch.no_grad()
def _gain(
    operator: SpectralOperator,
    sizes: Sequence[int],
    channel: int | None,
    embedding: Tensor | None,
    pooled: Tensor | None,
) -> Tensor:
    """One channel of the gain, or the mean over channels, ``(H, W)``."""
    sizes = check_sizes(sizes)
    if len(sizes) != 2:
        raise ValueError(f"sizes must be (H, W): pictures are of operators over two dimensions, got {sizes}")
    if pooled is not None and pooled.ndim != 1:
        raise ValueError(f"pooled must be of one sample, (C), got shape {tuple(pooled.shape)}")
    embedding, pooled = (None if given is None else given.cpu() for given in (embedding, pooled))
    # Not every device has float64.
    gain = copy.deepcopy(operator).cpu().gain(sizes, embedding=embedding, pooled=pooled, dtype=torch.float64)
    gain = gain if gain.ndim == 3 else gain.unsqueeze(-1)
    if channel is None:
        return gain.mean(-1)
    if not 0 <= channel < gain.shape[-1]:
        raise ValueError(f"channel must be between 0 and {gain.shape[-1] - 1}, got {channel}")
    return gain[..., channel]


def spectrum(
    operator: SpectralOperator,
    sizes: Sequence[int],
    *,
    channel: int | None = None,
    embedding: Tensor | None = None,
    pooled: Tensor | None = None,
    axes: Axes | None = None,
) -> Axes:
    """The gain of each mode: n down, m to the right, the lowest at the top left; red amplifies with its sign.

    A periodic axis has a cosine and a sine of each frequency, as its label says.

    Args:
        operator: Over two dimensions.
        sizes: ``(H, W)`` of the grid.
        channel: One channel; by default the mean of all.
        embedding: For operators that predict a quantity from one.
        pooled: The mean of one input, ``(C)``, for operators conditioned on the input.
        axes: Where to draw.

    Example:
        >>> from spectral_ops import Heat, plot
        >>> plot.spectrum(Heat(0.5), (32, 48)).get_title()
        'gain'
    """
    gain = _gain(operator, sizes, channel, embedding, pooled)
    walls = one_per_axis(operator.boundary, 2)
    down, right = (f"{n}: 1, cos, sin, cos, ..." if w == "periodic" else n for n, w in zip("nm", walls, strict=True))
    axes = _axes(axes)
    limit = float(gain.abs().max()) or 1.0
    image = axes.imshow(gain.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.figure.colorbar(image, ax=axes, shrink=0.8)
    axes.set(title="gain", xlabel=right, ylabel=down)
    return axes


def radial_profile(
    operator: SpectralOperator,
    sizes: Sequence[int],
    *,
    channel: int | None = None,
    embedding: Tensor | None = None,
    pooled: Tensor | None = None,
    axis: int | None = None,
    axes: Axes | None = None,
    **line: Any,
) -> Axes:
    """The gain of every mode against its wave number sqrt(lambda).

    One curve where the gain depends on the eigenvalue alone, a cloud where it was learned mode by mode, or where the
    axes differ: then ``axis`` draws one of them.

    Args:
        operator, sizes, channel, embedding, pooled, axes: See :func:`spectrum`.
        axis: 0 or 1: only the modes that are the lowest along the other axis, against the wave number along this one.
        **line: Passed to matplotlib's ``plot``.

    Example:
        >>> from spectral_ops import FractionalHeat, Heat, plot
        >>> axes = plot.radial_profile(Heat(0.5), (32, 32), label="heat")
        >>> len(plot.radial_profile(FractionalHeat(0.5), (32, 32), label="Cauchy", axes=axes).lines)
        2
        >>> plot.radial_profile(Heat((0.1, 2.0)), (32, 32), axis=1).get_xlabel()
        'wave number sqrt(lambda) along axis 1'
    """
    gain = _gain(operator, sizes, channel, embedding, pooled)
    options: dict[str, Any] = {"laplacian": operator.laplacian, "dtype": torch.float64}
    if axis is None:
        values = laplacian_eigenvalues(sizes, spacing=operator.spacing, boundary=operator.boundary, **options)
    elif axis in (0, 1):
        spacing = operator.spacing[axis] if isinstance(operator.spacing, tuple) else operator.spacing
        wall = one_per_axis(operator.boundary, 2)[axis]
        values = laplacian_eigenvalues(gain.shape[axis], spacing=spacing, boundary=wall, **options)
        gain = gain.select(1 - axis, 0)
    else:
        raise ValueError(f"axis must be 0, 1 or None, got {axis!r}")
    order = values.flatten().argsort()
    axes = _axes(axes)
    axes.plot(values.flatten()[order].sqrt().numpy(), gain.flatten()[order].numpy(), **{"marker": ".", "ms": 2, **line})
    along = "" if axis is None else f" along axis {axis}"
    axes.set(xlabel=f"wave number sqrt(lambda){along}", ylabel="gain")
    return axes


def kernel(
    operator: SpectralOperator,
    sizes: Sequence[int],
    *,
    point: Sequence[int] | None = None,
    channel: int | None = None,
    embedding: Tensor | None = None,
    pooled: Tensor | None = None,
    axes: Axes | None = None,
) -> Axes:
    """What the operator makes of a unit at one cell. Colours follow the square root, so that tails can be seen.

    Args:
        operator, sizes, channel, embedding, pooled, axes: See :func:`spectrum`.
        point: The cell; by default the centre.

    Example:
        >>> from spectral_ops import Wave, plot
        >>> plot.kernel(Wave(1.0, 8.0), (48, 48)).get_title()
        'kernel, peak 0.0978'
    """
    gain = _gain(operator, sizes, channel, embedding, pooled)
    height, width = gain.shape
    row, column = (height // 2, width // 2) if point is None else point
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"point must be a cell of the {height} x {width} grid, got {(row, column)}")
    field = torch.zeros_like(gain)
    field[row, column] = 1
    response = apply_gain(field, gain, boundary=operator.boundary)
    peak = float(response.abs().max())
    shown = response.sign() * (response.abs() / (peak or 1.0)).sqrt()
    axes = _axes(axes)
    axes.imshow(shown.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set(title=f"kernel, peak {peak:.3g}", xticks=[], yticks=[])
    return axes


@torch.no_grad()
def film(
    operator: Callable[[float], nn.Module],
    field: Tensor,
    times: Sequence[float],
    *,
    cmap: str = "viridis",
    limits: tuple[float, float] | None = None,
) -> Any:
    """A strip of the field at several times.

    Args:
        operator: From a time to an operator, or to any module, such as ``lambda t: Heat(0.3, t)``.
        field: ``(H, W)``, or ``(3, H, W)`` with colours in [0, 1].
        times: One picture each.
        cmap: Colour map of a field without colours.
        limits: Its range; by default that of the first picture.

    Returns:
        The matplotlib figure.

    Example:
        >>> import torch
        >>> from spectral_ops import Heat, plot
        >>> len(plot.film(lambda t: Heat(0.3, t), torch.rand(32, 32), (0.0, 1.0, 4.0)).axes)
        3
    """
    import matplotlib.pyplot as plt

    check_floating(field, "field")
    if not (field.ndim == 2 or (field.ndim == 3 and field.shape[0] == 3)) or not times:
        raise ValueError(
            f"film needs at least one time and a field (H, W) or (3, H, W), got {tuple(field.shape)}, times={times}"
        )
    height, width = field.shape[-2:]
    figure, grid = plt.subplots(
        1, len(times), figsize=(2 * len(times) * width / height, 2.5), layout="constrained", squeeze=False
    )
    frames = [operator(time)(field) for time in times]
    low, high = (float(frames[0].min()), float(frames[0].max())) if limits is None else limits
    for axes, frame, time in zip(grid[0], frames, times, strict=True):
        if frame.ndim == 3:
            axes.imshow(frame.clamp(0, 1).permute(1, 2, 0).cpu().numpy())
        else:
            axes.imshow(frame.cpu().numpy(), cmap=cmap, vmin=low, vmax=high)
        axes.set(title=f"t = {time:g}", xticks=[], yticks=[])
    return figure
