"""From tensors to the network they belong to: its family, by the tensors of its operators, and its size."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from backbones.archs import ARCHS
from backbones.catalogue import FAMILIES
from backbones.hivit import HiViT
from backbones.network import SpectralNet
from backbones.operators import DIFFUSIVITIES
from backbones.remote_sensing import RSVHeat, specs_in
from backbones.weights.conversion import TABLES
from backbones.weights.hivit_identification import describe_hivit, hivit_like, is_hivit
from backbones.weights.messages import first_names
from backbones.weights.rs_vheat_names import RS_VHEAT
from spectral_ops import SpectralOperator

__all__ = ["Outline", "describe", "families_of", "network_like", "outline"]


#: Values of those arguments of the families' operators that change what they learn.
_OPTIONS: dict[str, Collection[Any]] = {"diffusivity": DIFFUSIVITIES, "per_axis": (False, True)}


class _Kind(NamedTuple):
    """A family, with the options of its operator where these are not the default."""

    family: str
    options: dict[str, Any]
    operator: Callable[[int], SpectralOperator]


def _kinds() -> Iterator[_Kind]:
    for name, family in FAMILIES.items():
        parameters = inspect.signature(family.operator).parameters
        choices = [[(n, value) for value in _OPTIONS[n]] for n in parameters if n in _OPTIONS]
        for chosen in itertools.product(*choices):
            options = {n: value for n, value in chosen if value != parameters[n].default}
            yield _Kind(name, options, partial(family.operator, **options))


# -- what a state dict says -------------------------------------------------------------------------------------------


class Outline(NamedTuple):
    """What the names and shapes of a spectral network's tensors tell.

    Attributes:
        dims, depths: Of the stages that there are.
        learned: Names of the operators' tensors in each stage.
        embedded: Whether some stage has a spectral embedding.
        gains: Whether gains stand in the operators' place.
    """

    dims: tuple[int, ...]
    depths: tuple[int, ...]
    learned: tuple[frozenset[str], ...]
    embedded: bool
    gains: bool

    @property
    def size(self) -> str | None:
        """The name of its size, if these widths and depths have one."""
        found = (name for name, arch in ARCHS.items() if (self.dims, self.depths) == (arch["dims"], arch["depths"]))
        return next(found, None)


def outline(state: Mapping[str, Tensor]) -> Outline | None:
    """What a state dict under this project's names tells of its network; None for tensors of something else."""
    dims: dict[int, int] = {}
    depths: dict[int, int] = {}
    learned: dict[int, set[str]] = {}
    embedded = gains = False
    for name, tensor in state.items():
        if match := re.fullmatch(r"stages\.(\d{1,2})\.blocks\.(\d{1,3})\.norm1\.weight", name):
            stage, block = int(match.group(1)), int(match.group(2))
            dims[stage], depths[stage] = tensor.numel(), max(depths.get(stage, 0), block + 1)
        elif match := re.fullmatch(r"stages\.(\d{1,2})\.blocks\.\d{1,3}\.mixer\.operator\.(?:source\.)?(.+)", name):
            if match.group(2).startswith("gain_"):
                gains = True
            else:
                learned.setdefault(int(match.group(1)), set()).add(match.group(2))
        embedded |= re.fullmatch(r"stages\.\d{1,2}\.embedding\.weight", name) is not None
    if not dims or not any(table.recognises_ours(state) for table in TABLES):
        return None
    order = sorted(dims)
    return Outline(
        tuple(dims[i] for i in order),
        tuple(depths[i] for i in order),
        tuple(frozenset(learned.get(i, ())) for i in order),
        embedded,
        gains,
    )


def _tensors(kind: _Kind, channels: int) -> tuple[frozenset[str], bool] | None:
    """What its operator learns, and whether it takes an embedding; None where it refuses the width."""
    try:
        with torch.device("meta"):
            operator = kind.operator(channels)
    except Exception:  # a family of somebody else's, which must not break the reading of other files
        return None
    return frozenset(operator.state_dict()), operator.embedding_conditioned


def _kinds_of(found: Outline, whole: bool) -> list[_Kind]:
    """The kinds of operator that a network may have, none where there is nothing to tell them by.

    Args:
        found: The network.
        whole: Every stage must have all that a kind learns; else all stages together, so that a file that lacks
            something is still known by the rest.
    """
    kinds = []
    for kind in _kinds() if any(found.learned) or found.embedded else ():
        tensors = _tensors(kind, found.dims[0])
        if tensors is None or not (tensors[0] or tensors[1]):
            continue  # an operator that learns nothing can be told by nothing
        together = frozenset().union(*found.learned) == tensors[0]
        if all(stage == tensors[0] for stage in found.learned) if whole else together:
            kinds.append(kind)
    return kinds


def families_of(state: Mapping[str, Tensor]) -> list[str]:
    """The families that a state dict under this project's names may be of: one, unless operators learn nothing."""
    found = outline(state)
    kinds = [] if found is None else _kinds_of(found, whole=True)
    return list(dict.fromkeys(f"{_guided(state, kind)}{kind.family}" for kind in kinds))


def describe(state: Mapping[str, Tensor]) -> str:
    """Which network a state dict under this project's names is of, as far as it can be told: ``"a vwave_tiny"``."""
    if is_hivit(state):
        return describe_hivit(state)
    found = outline(state)
    if found is None:
        return f"no network of this project ({first_names(state)})"
    size = f"_{found.size}" if found.size else f" of widths {found.dims} and depths {found.depths}"
    kinds = _kinds_of(found, whole=True) or _kinds_of(found, whole=False)
    if kinds:
        return " or ".join(f"a {_guided(state, kind)}{kind.family}{size}{_with(kind)}" for kind in kinds)
    size = f"of size {found.size}" if found.size else f"of widths {found.dims} and depths {found.depths}"
    learned = frozenset().union(*found.learned)
    if not learned:
        return f"a network {size} {'that holds gains only' if found.gains else 'whose operators learn nothing'}"
    alone = (
        found._replace(dims=(dim,), learned=(names,), embedded=False)
        for dim, names in zip(found.dims, found.learned, strict=True)
    )
    by_stage = [_kinds_of(stage, whole=True) for stage in alone]
    if all(by_stage):
        return f"a network {size} whose stages are {', '.join(kinds[0].family for kinds in by_stage)}"
    return f"a network {size} with an operator of no family ({first_names(sorted(learned))})"


def _guided(state: Mapping[str, Tensor], kind: _Kind) -> str:
    """What stands before a family's name where a map guides the mixers; with heat it is RS-vHeat."""
    if not RS_VHEAT.recognises_ours(state):
        return ""
    return "rs_" if kind.family == "vheat" else "guided "


def _with(kind: _Kind) -> str:
    return "".join(f" with {name}={value!r}" for name, value in kind.options.items())


# -- its network ------------------------------------------------------------------------------------------------------


def network_like(state: Mapping[str, Tensor], *, num_heads: int | None = None) -> SpectralNet | HiViT:
    """A fresh network of the kind and sizes of a state dict under this project's names, ready to load it.

    Family, widths, depths, norm placement, classes, input channels and the image size are read off names and shapes. A
    network without classifier in the file has none; what no tensor tells is left at its default. A file that holds
    gains only is of no family, since they serve every one: it gets the first, vHeat, to put them into. A HiViT with a
    pyramid is an :class:`~backbones.hivit.ITPN`. An RS-vHeat has the modalities that the file describes.

    Args:
        state: As :func:`~backbones.read_weights` returns it.
        num_heads: Of a HiViT whose width is none of the published ones, and that has no biases to tell them by; files
            of :func:`backbones.pretraining.publish` say it in their metadata.

    Raises:
        TypeError: It is no state dict, but a path for example.
        ValueError: It lacks what the sizes are read from, or its operators are of no family, of several, or of another
            in each stage.

    Example:
        >>> import timm
        >>> net = network_like(timm.create_model("vheat_nano", num_classes=7, img_size=96).state_dict())
        >>> net.num_classes, [len(stage.blocks) for stage in net.stages]
        (7, [1, 1, 3, 1])
    """
    if not isinstance(state, Mapping):
        raise TypeError(
            f"state must be a dict of tensors by name, as backbones.read_weights(PATH)[0] is, got {state!r:.200}"
        )
    if is_hivit(state):
        return hivit_like(state, num_heads)
    found = outline(state)
    if found is None:
        raise ValueError(f"these tensors are of {describe(state)}")
    gains_only = found.gains and not any(found.learned)
    kinds = list(_kinds())[:1] if gains_only else _kinds_of(found, whole=True)
    if len(kinds) != 1:
        raise ValueError(f"these tensors do not tell which operator to build: they are of {describe(state)}")
    (kind,) = kinds
    guided, specs = RS_VHEAT.recognises_ours(state), specs_in(state)
    if guided and not specs:
        raise ValueError(
            "these tensors do not tell bands, units and statistics of the modalities of their network: create it by "
            "backbones.remote_sensing.RSVHeat(arch, modalities=[...]) and load them into it"
        )
    stem = state.get(f"stem.{specs[0].name}.conv1.weight" if guided else "stem.conv1.weight")
    hidden = state.get("stages.0.blocks.0.mlp.fc1.weight")
    grid = _first_grid(state)
    needs_grid = gains_only or kind.operator(found.dims[0]).embedding_conditioned
    whole = all(f"stages.{i}.blocks.0.norm1.weight" in state for i in range(len(found.dims)))
    if not whole or stem is None or hidden is None or (needs_grid and grid is None):
        raise ValueError(
            "these tensors are not those of a whole vHeat or a relative: stem, blocks or embedding are missing"
        )
    scaled = "stages.0.blocks.0.scale1.gamma" in state
    classifier = state.get("head.fc.weight")
    if guided:
        scales = {"norm_placement": "post", "layer_scale": 1.0} if scaled else {}
        ratio = hidden.shape[0] / found.dims[0]
        return RSVHeat(
            {"dims": found.dims, "depths": found.depths, "mlp_ratio": ratio, **scales},
            modalities=specs,
            num_classes=0 if classifier is None else len(classifier),
            fusion="concat" if len(specs) > 1 and _concatenates(state, found.dims) else "mean",
            operator=kind.operator,
            **({} if grid is None else {"img_size": (4 * grid[0], 4 * grid[1])}),
        )
    return SpectralNet(
        kind.operator,
        dims=found.dims,
        depths=found.depths,
        norm_placement="post" if scaled else "pre",
        layer_scale=1.0 if scaled else None,
        mlp_ratio=hidden.shape[0] / found.dims[0],
        in_chans=stem.shape[1],
        num_classes=0 if classifier is None else len(classifier),
        **({} if grid is None else {"img_size": (4 * grid[0], 4 * grid[1])}),
    )


def _concatenates(state: Mapping[str, Tensor], dims: Sequence[int]) -> bool:
    """Whether fused maps are wider than stages, by the norms that they pass."""
    norms = [(state.get("norm.weight"), dims[-1])]
    norms += [(state.get(f"out_norms.{i}.weight"), dim) for i, dim in enumerate(dims)]
    return any(norm is not None and norm.numel() != dim for norm, dim in norms)


def _first_grid(state: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """Map size of the first stage, from a learned map or from a stored gain."""
    for learned in ("embedding", "guide"):
        if (weight := state.get(f"stages.0.{learned}.weight")) is not None:
            return weight.shape[0], weight.shape[1]
    for name in state:
        if match := re.fullmatch(r"stages\.0\.blocks\.0\.mixer\.operator\.gain_(\d+)x(\d+)", name):
            return int(match.group(1)), int(match.group(2))
    return None
