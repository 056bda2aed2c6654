"""From the names in a file to this project's, whichever family the file is of, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from backbones.weights.containers import Weights, find_weights, names_in, without_prefix
from backbones.weights.hivit_names import HIVIT
from backbones.weights.names import Conversion, NameTable
from backbones.weights.rs_vheat_names import RS_VHEAT
from backbones.weights.vheat_names import VHEAT

__all__ = ["TABLES", "Conversion", "Named", "convert_checkpoint", "own_names", "to_official"]

#: Every table there is; files of whatever it holds are read everywhere. RS-vHeat's files have most names of vHeat's, so
#: it comes first.
TABLES: list[NameTable] = [RS_VHEAT, VHEAT, HIVIT]


class Named(NamedTuple):
    """What :func:`own_names` returns.

    Attributes:
        tensors: Under this project's names.
        unexpected: Names of the file that are nobody's.
        reasons: Why each of them is left out.
        table: Of the official names that the file bore; None for a file of this project.
    """

    tensors: dict[str, Tensor]
    unexpected: list[str]
    reasons: dict[str, str]
    table: NameTable | None


def own_names(checkpoint: Mapping[str, Any], weights: Weights = "raw", prefix: str | None = None) -> Named:
    """The tensors of a checkpoint's network under this project's names.

    Args:
        checkpoint: A state dict, or whatever a trainer puts one into, see
            :func:`~backbones.weights.containers.find_weights`.
        weights: ``"raw"``, or ``"ema"`` for the moving average.
        prefix: What must stand before the names; None for anything.

    Raises:
        ValueError: It holds no network of this project, or several, or tensors not of the form their names promise.
    """
    state = find_weights(checkpoint, weights, TABLES, prefix)
    if any(table.recognises_ours(state) for table in TABLES):
        # A network reparameterised with its source holds both; the gains follow from the rest.
        sources = {name for name in state if ".operator.source." in name}
        kept = {n: t for n, t in state.items() if not (sources and ".operator.gain_" in n)}
        return Named({n.replace(".operator.source.", ".operator."): t for n, t in kept.items()}, [], {}, None)
    table = max((table for table in TABLES if table.recognises(state)), key=lambda table: table.count(state))
    converted = table.with_beside(table.to_ours(state), names_in(checkpoint))
    return Named(converted.state_dict, converted.unexpected, converted.reasons, table)


def convert_checkpoint(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Give the tensors of an official file this project's names.

    Reads, recognised by their names and behind any prefix (``module.``, ``_orig_mod.``, ``model.backbone.``; the one
    that most of the official names have; without it are the tensors of other parts, of a detector for example, and
    left out):

    - vHeat: classification and dense files, in train and in precomputed form, with ``to_time`` for ``to_k`` as in
      older files.
    - RS-vHeat: the same, with ``patch_embed_opt`` and ``patch_embed_sar``; ``fuse_frequency`` is left out.
    - HiViT, iTPN and Fast-iTPN: classification, pre-training and detection files; how deep the stages, the pyramid and
      the decoder are is read off the names.

    Args:
        state_dict: Official names to tensors.

    Returns:
        ``(state_dict, missing, unexpected, reasons)``, see :class:`~backbones.weights.names.Conversion`.

    Raises:
        TypeError: ``state_dict`` is not a mapping of names.
        ValueError: A tensor does not have the form its name promises, or two have the same name.

    Example:
        >>> import torch
        >>> file = {"module.patch_embed.conv1.bias": torch.zeros(48), "module.step": torch.zeros(1)}
        >>> converted = convert_checkpoint(file)
        >>> list(converted.state_dict), converted.reasons, converted.missing[0]
        (['stem.conv1.bias'], {'step': 'no network of this project has such a tensor'}, 'patch_embed.conv1.weight')
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(name, str) for name in state_dict):
        raise TypeError(f"state_dict must map names to tensors, got {type(state_dict).__name__}")
    found = {table: prefixes for table in TABLES if (prefixes := table.prefixes(state_dict))}
    table = next(iter(found), VHEAT)
    prefixes = found.get(table) or table.prefixes(state_dict, marked=False)
    prefix = prefixes.most_common(1)[0][0] if prefixes else ""
    return table.with_beside(table.to_ours(without_prefix(state_dict, prefix)), state_dict)


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a network of this project their official names: the inverse of :func:`convert_checkpoint`.

    Args:
        state_dict: ``model.state_dict()`` of a vHeat or RS-vHeat in train form, or in precomputed form without its
            source (``model.reparameterize([224], keep_source=False)``), or of a HiViT, with or without a pyramid.

    Returns:
        Official names to tensors, without prefix.

    Raises:
        ValueError: A name has no official one, or half of a split tensor is missing.

    Example:
        >>> import torch
        >>> list(to_official({"stages.0.blocks.1.mlp.fc1.weight": torch.zeros(8, 2)}))
        ['layers.0.1.mlp.fc1.weight']
    """
    return next((table for table in TABLES if table.recognises_ours(state_dict)), VHEAT).to_official(state_dict)
