"""How many modes the operators of a network leave nothing of, so that transforms could do without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backbones.deployment import Deployable
from spectral_ops import Precomputed


@dataclass(frozen=True)
class SmallModes:
    """The modes of one operator whose gain is below a tolerance in every channel.

    Attributes:
        layer: Path of the mixer in the network.
        sizes: Of its grid.
        tolerance: The gain below which a mode is small.
        share: Of all modes, those that are small.
        kept: Modes along each axis of the smallest rectangle of low modes that holds all others; rectangular bases are
            what a transform can do without small modes by.
        products: Multiply-accumulates of a transform and its inverse with that rectangle, over those with all modes.
    """

    layer: str
    sizes: tuple[int, int]
    tolerance: float
    share: float
    kept: tuple[int, int]
    products: float


@torch.no_grad()
def small_modes(
    network: Deployable, image: int | Sequence[int], tolerances: Sequence[float] = (1e-3, 1e-2, 1e-1)
) -> list[SmallModes]:
    r"""Of every mixer and each tolerance, which modes are small: ``max_c |g[n, m, c]| < tolerance``.

    With :math:`N \times M` of :math:`H \times W` modes kept and rows transformed first or last, whichever is less, a
    transform takes :math:`\min(N H W + N M W, M H W + N M H)` products for each channel, and so does its inverse.

    Args:
        network: A spectral network, with its physics or with gains stored for this size.
        image: Its size in pixels, one int or ``(H, W)``.
        tolerances: Gains of modes that could be left out.

    Raises:
        ValueError: A gain depends on the input.

    Example:
        >>> import timm, backbones
        >>> found = small_modes(timm.create_model("vheat_nano"), 64, [1e-3])[0]
        >>> found.layer, found.sizes, 0 <= found.share <= 1
        ('stages.0.blocks.0.mixer', (16, 16), True)
    """
    names = {module: name for name, module in network.named_modules()}
    found = []
    for mixer, sizes, maps, _ in network.sites(image):
        operator = mixer.operator
        if isinstance(operator, Precomputed) and operator.source is not None:
            operator = operator.source
        if operator.input_conditioned:
            raise ValueError(f"the gain of {operator!r} depends on the input: it has no modes that are always small")
        options = {} if isinstance(operator, Precomputed) else {"embedding": maps.get("embedding")}
        gain = operator.gain(sizes, device=mixer.norm.weight.device, **options)
        largest = gain.abs().reshape(*sizes, -1).amax(-1)
        for tolerance in tolerances:
            large = largest >= tolerance
            kept = _extent(large.any(1)), _extent(large.any(0))
            share = 1 - large.double().mean().item()
            found.append(SmallModes(names[mixer], sizes, tolerance, share, kept, _products(sizes, kept)))
    return found


def _extent(there: Tensor) -> int:
    """How many entries there are up to the last one."""
    places = there.nonzero()
    return int(places.max()) + 1 if len(places) else 0


def _products(sizes: tuple[int, int], kept: tuple[int, int]) -> float:
    (height, width), (n, m) = sizes, kept
    rectangular = min(n * height * width + n * m * width, m * height * width + n * m * height)
    return rectangular / (height * height * width + height * width * width)
