"""Gains stored for deployment, in any network whose tokens are mixed by spectral operators.

A network takes part by ``sites(image)``, which lists its mixers with the grid and the learned maps each works on for
images of a size, and by ``prune_maps()``, which drops the learned maps that no block takes any more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from spectral_ops import Precomputed, SpectralMixer

__all__ = ["Deployable", "Site", "gain_misfits", "place_gains", "precompute", "restore"]


class Site(NamedTuple):
    """A mixer at work on images of one size.

    Attributes:
        mixer: The layer.
        sizes: Grid of its map.
        maps: The learned maps it takes, by name.
        made_from: The modules that make the maps, so that gains made of them are known to be stale once they change.
    """

    mixer: SpectralMixer
    sizes: tuple[int, int]
    maps: dict[str, Tensor]
    made_from: tuple[nn.Module, ...] = ()


class Deployable(Protocol):
    """What a network must offer."""

    def sites(self, image: int | Sequence[int]) -> Iterable[Site]: ...
    def prune_maps(self) -> None: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...


def _mixers(network: Deployable) -> dict[str, SpectralMixer]:
    return {name: module for name, module in network.named_modules() if isinstance(module, SpectralMixer)}


@torch.no_grad()
def precompute(network: Deployable, images: Sequence[int | tuple[int, int]], *, keep_source: bool = True) -> None:
    """Store the gains of all mixers for images of these sizes, see :meth:`backbones.SpectralNet.reparameterize`.

    Raises:
        TypeError: ``images`` is no sequence, one size for example.
        ValueError: The network holds gains only, or a gain depends on the input, or the physics is to be dropped where
            no gain is stored. Nothing is changed then.
    """
    if not isinstance(images, Sequence) or isinstance(images, str):
        raise TypeError(f"sizes must be a list of image sizes, such as [{images}] for one, got {images!r}")
    if not keep_source and not images:
        raise ValueError("sizes must name at least one image size where the physics is dropped, got none")
    found = []
    for image in images:  # all gains first, so that one that cannot be computed leaves the network as it was
        for mixer, sizes, maps, made_from in network.sites(image):
            source = mixer.operator.source if isinstance(mixer.operator, Precomputed) else mixer.operator
            if source is None:
                raise ValueError("this network holds gains only: there is no physics to compute others from")
            if source.input_conditioned:
                raise ValueError(f"the gain of {source!r} depends on the input and cannot be precomputed")
            device = mixer.norm.weight.device  # an operator of constants has no device of its own
            dtype = torch.float64 if mixer.norm.weight.dtype == torch.float64 else torch.float32
            gain = source.gain(sizes, embedding=maps.get("embedding"), dtype=dtype, device=device)
            found.append((mixer, sizes, gain, made_from))
    covered = {id(mixer) for mixer, *_ in found}
    if left := [name for name, mixer in _mixers(network).items() if not keep_source and id(mixer) not in covered]:
        raise ValueError(f"the physics of {left} cannot be dropped: the network's sites() do not list it")
    for mixer, sizes, gain, made_from in found:
        if not isinstance(mixer.operator, Precomputed):
            mixer.operator = Precomputed(mixer.operator)
        mixer.operator.store(sizes, gain, made_from)
    if not keep_source:
        for mixer in _mixers(network).values():
            mixer.operator.source = None
        network.prune_maps()


def restore(network: Deployable) -> None:
    """Undo :func:`precompute`.

    Raises:
        ValueError: There is nothing to restore. Nothing is changed then.
    """
    stored = [mixer for mixer in _mixers(network).values() if isinstance(mixer.operator, Precomputed)]
    if any(mixer.operator.source is None for mixer in stored):
        raise ValueError("this network holds gains only (keep_source=False or a precomputed file): nothing to restore")
    for mixer in stored:
        mixer.operator = mixer.operator.source


def gain_misfits(network: Deployable, gains: Mapping[str, Tensor]) -> list[str]:
    """What keeps the gains of a file from taking the place of a network's operators.

    Each mixer must have gains, of its width and for the same grids as the others of its stage.
    """
    misfits = []
    left = dict(gains)
    for site, mixer in _mixers(network).items():
        stage = site.partition(".blocks.")[0]
        grids = {n.rpartition("_")[2] for n in gains if n.startswith(f"{stage}.")} or {"HxW"}
        for grid in sorted(grids):
            name = f"{site}.operator.gain_{grid}"
            channels = mixer.norm.normalized_shape[0]
            gain = left.pop(name, None)
            if gain is None:
                misfits.append(f"{name}: missing in the file")
            elif "x".join(map(str, gain.shape[:2])) != grid or gain.shape[2:] not in ((1,), (channels,)):
                misfits.append(f"{name}: {tuple(gain.shape)} in the file, {channels} channels in the model")
            elif not gain.is_floating_point():
                misfits.append(f"{name}: of {gain.dtype} in the file")
    return misfits + [f"{name}: {tuple(t.shape)} in the file, missing in the model" for name, t in left.items()]


def place_gains(network: Deployable, gains: Mapping[str, Tensor]) -> None:
    """Put the gains of a file in precomputed form in the place of a network's operators.

    Args:
        network: Any with no :func:`gain_misfits`.
        gains: By the names that they have in a network of gains only.
    """
    for site, mixer in _mixers(network).items():
        operator = Precomputed(None, mixer.operator.grid_options)
        for name, gain in gains.items():
            if match := re.fullmatch(re.escape(f"{site}.operator.gain_") + r"(\d+)x(\d+)", name):
                operator.store([int(n) for n in match.groups()], gain.to(mixer.norm.weight))
        mixer.operator = operator
    network.prune_maps()
