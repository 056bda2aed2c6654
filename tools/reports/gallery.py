"""What each family of operators does to real pictures."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from skimage import data
from skimage.transform import resize
from torch import Tensor, nn

from reports import pages
from spectral_ops import Advection, Biharmonic, FractionalHeat, Heat, Identity, Plate, Poisson, Wave, plot


def photograph(name: str, height: int, width: int) -> Tensor:
    """A photograph of scikit-image as ``(3, height, width)`` in [0, 1]."""
    image = resize(getattr(data, name)(), (height, width), anti_aliasing=True)
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float()


def heat() -> Figure:
    """Heat spreading over a photograph."""
    return plot.film(lambda t: Heat(1.0, t), photograph("chelsea", 160, 240), (0.0, 1.0, 4.0, 16.0, 64.0, 256.0))


def relatives() -> Figure:
    """Heat and its relatives, whose gain is a half at the same wave number, as kernels and profiles."""
    half, log2 = 0.5, float(np.log(2))
    operators = {
        "Cauchy": FractionalHeat(log2 / half, 0.5),
        "heat": Heat(log2 / half**2),
        "biharmonic": Biharmonic(log2 / half**4),
    }
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
    for panel, (name, operator) in zip(axes, operators.items(), strict=False):
        plot.kernel(operator, (65, 65), axes=panel)
        panel.set_title(f"{name}: {panel.get_title()}")
        plot.radial_profile(operator, (65, 65), axes=axes[3], label=name)
    axes[3].legend()
    return figure


def anisotropy() -> Figure:
    """Heat and waves at a rate of their own along each axis: kernels, and the gains along either."""
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
    heat = Heat((2.0, 32.0))
    operators = {"Heat((2, 32))": heat, "Heat((32, 2))": Heat((32.0, 2.0)), "Wave((0.5, 1.5))": Wave((0.5, 1.5), 18.0)}
    for panel, (name, operator) in zip(axes, operators.items(), strict=False):
        plot.kernel(operator @ Heat(1.0), (65, 65), axes=panel)
        panel.set_title(name)
    for axis, label in enumerate(("down", "to the right")):
        plot.radial_profile(heat, (65, 65), axis=axis, axes=axes[3], label=f"Heat((2, 32)) {label}")
    axes[3].set(xlabel="wave number along the axis")
    axes[3].legend()
    return figure


def pulse_film(operator: Callable[[float], nn.Module], *times: float) -> Figure:
    """What becomes of a narrow Gaussian left of the centre; red is positive."""
    y, x = torch.arange(120)[:, None], torch.arange(160)[None, :]
    pulse = torch.exp(-((y - 60) ** 2 + (x - 53) ** 2) / 18)
    return plot.film(operator, pulse, times, cmap="RdBu_r", limits=(-0.25, 0.25))


def wave() -> Figure:
    """A travelling wave, reflected by the walls."""
    return pulse_film(lambda t: Wave(1.0, t), 0.0, 15.0, 30.0, 60.0, 90.0, 150.0)


def damped_wave() -> Figure:
    """The same pulse with damping, on the same scale of colours: it fades."""
    return pulse_film(lambda t: Wave(1.0, t, damping=0.01), 0.0, 15.0, 30.0, 60.0, 90.0, 150.0)


def plate() -> Figure:
    """The same pulse on a plate: short waves run ahead."""
    return pulse_film(lambda t: Plate(1.0, t), 0.0, 5.0, 10.0, 20.0, 40.0, 80.0)


def periodic() -> Figure:
    """The same pulse where left and right meet, between cold walls above and below, which reflect it with its sign."""
    return pulse_film(lambda t: Wave(1.0, t, boundary=("dirichlet", "periodic")), 0.0, 20.0, 50.0, 80.0, 110.0)


def advection() -> Figure:
    """The same pulse carried to the right, in again at the left, and blurred on its way."""
    return pulse_film(lambda t: Advection((-0.2, 1.0), 0.15, t), 0.0, 40.0, 80.0, 120.0, 160.0)


def blend(source: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Poisson image editing: the picture whose gradient is closest to the source's inside the mask, else the target's.

    Its Laplacian is the divergence of the mixed gradient, with no flux through the walls.
    """
    divergence = torch.zeros_like(target)
    for axis in (-2, -1):
        inside = mask.narrow(axis, 1, mask.shape[axis] - 1) & mask.narrow(axis, 0, mask.shape[axis] - 1)
        flux = torch.where(inside, source.diff(dim=axis), target.diff(dim=axis))
        wall = torch.zeros_like(target.narrow(axis, 0, 1))
        divergence += torch.cat([wall, flux, wall], axis).diff(dim=axis)
    solution = Poisson(laplacian="finite-difference")(-divergence)
    outside = ~mask.expand_as(target)
    level = ((target - solution) * outside).sum((-2, -1), keepdim=True) / outside.sum((-2, -1), keepdim=True)
    return solution + level


def poisson() -> Figure:
    """A picture blended into another by solving Poisson's equation once."""
    height, width = 160, 240
    target, source = photograph("coffee", height, width), photograph("chelsea", height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None, :]
    mask = ((y - 75) / 55.0) ** 2 + ((x - 130) / 80.0) ** 2 < 1
    panels = {
        "target": target,
        "source": source,
        "pasted": torch.where(mask, source, target),
        "blended": blend(source, target, mask),
    }
    figure, axes = plt.subplots(1, 4, figsize=(13, 2.6), layout="constrained")
    for panel, (name, image) in zip(axes, panels.items(), strict=True):
        panel.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy())
        panel.set(title=name, xticks=[], yticks=[])
    return figure


def composition() -> Figure:
    """Expressions of operators on a photograph, with their gains."""
    expressions = {
        "sharpen": 2.0 * Identity() - Heat(2.0),
        "edges at one scale": Heat(0.5) - Heat(2.0),
        "ripples": Wave(1.0, 12.0) @ Heat(1.0),
        "heat + wave + screened Poisson": 0.4 * Heat(4.0) + 0.4 * Wave(1.0, 6.0, 0.2) + 0.01 * Poisson(screening=0.2),
    }
    image = photograph("astronaut", 200, 200)
    figure, axes = plt.subplots(2, 4, figsize=(13, 6.4), layout="constrained")
    for (top, bottom), (name, operator) in zip(axes.T, expressions.items(), strict=True):
        result = operator(image)
        if name.startswith("edges"):
            result = 0.5 + 3 * result
        top.imshow(result.clamp(0, 1).permute(1, 2, 0).numpy())
        top.set(title=name, xticks=[], yticks=[])
        plot.spectrum(operator, (64, 64), axes=bottom)
    return figure


FAMILIES: tuple[Callable[[], Figure], ...] = (
    heat,
    relatives,
    anisotropy,
    wave,
    damped_wave,
    plate,
    periodic,
    advection,
    poisson,
    composition,
)


def write_gallery(out: Path) -> Path:
    """Render every family below ``out``; returns the page that shows them."""
    out.mkdir(parents=True, exist_ok=True)
    figures = []
    for family in FAMILIES:
        picture = out / f"{family.__name__}.png"
        figure = family()
        figure.savefig(picture, dpi=110)
        plt.close(figure)
        encoded = base64.b64encode(picture.read_bytes()).decode()
        caption = html.escape((family.__doc__ or "").splitlines()[0])
        figures.append(f'<h2>{caption}</h2><img src="data:image/png;base64,{encoded}" alt="{caption}">')
    page = out / "index.html"
    style = "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto}img{max-width:100%}"
    page.write_text(pages.page("Spectral operators", style, figures))
    return page
