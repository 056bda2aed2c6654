"""From the names in a file to this project's, whichever family the file is of, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from backbones.weights.containers import strip_prefixes
from backbones.weights.messages import first_names
from backbones.weights.names import Conversion, NameTable
from backbones.weights.vheat_names import VHEAT

__all__ = ["TABLES", "Conversion", "Named", "convert_checkpoint", "own_names", "to_official"]

#: Every table there is; files of whatever it holds are read everywhere.
TABLES: list[NameTable] = [VHEAT]


class Named(NamedTuple):
    """What :func:`own_names` returns.

    Attributes:
        tensors: Under this project's names.
        unexpected: Names of the file that are nobody's.
        table: Of the official names that the file bore; None for a file of this project.
    """

    tensors: dict[str, Tensor]
    unexpected: list[str]
    table: NameTable | None


def own_names(state: Mapping[str, Tensor]) -> Named:
    """A file's tensors under this project's names.

    Raises:
        ValueError: They are those of no network of this project, or not of the form that their names promise.
    """
    stripped = strip_prefixes({name: t for name, t in state.items() if isinstance(name, str) and isinstance(t, Tensor)})
    if any(table.recognises_ours(stripped) for table in TABLES):
        # A network reparameterised with its source holds both; the gains follow from the rest.
        sources = {name for name in stripped if ".operator.source." in name}
        kept = {n: t for n, t in stripped.items() if not (sources and ".operator.gain_" in n)}
        return Named({n.replace(".operator.source.", ".operator."): t for n, t in kept.items()}, [], None)
    known = [table for table in TABLES if table.recognises(stripped)]
    if not known:
        raise ValueError(f"it holds the tensors of no network of this project ({first_names(state)})")
    table = max(known, key=lambda table: table.count(stripped))
    converted = table.to_ours(stripped)
    return Named(converted.state_dict, converted.unexpected, table)


def convert_checkpoint(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Give the tensors of an official vHeat file this project's names.

    Reads classification and dense files, in train and in precomputed form, with ``to_time`` for ``to_k`` as in older
    files, and under the prefixes ``module.``, ``backbone.`` and ``encoder.`` in any nesting. In the file of a whole
    detector or segmentor, the tensors of its other parts are left out.

    Args:
        state_dict: Official names to tensors.

    Returns:
        ``(state_dict, missing, unexpected)``, see :class:`~backbones.weights.names.Conversion`.

    Raises:
        TypeError: ``state_dict`` is not a mapping of names.
        ValueError: A tensor does not have the form its name promises, or two have the same name.

    Example:
        >>> import torch
        >>> converted = convert_checkpoint({"module.patch_embed.conv1.bias": torch.zeros(48), "step": torch.zeros(1)})
        >>> list(converted.state_dict), converted.unexpected, converted.missing[0]
        (['stem.conv1.bias'], ['step'], 'patch_embed.conv1.weight')
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(name, str) for name in state_dict):
        raise TypeError(f"state_dict must map names to tensors, got {type(state_dict).__name__}")
    return VHEAT.to_ours(strip_prefixes(state_dict))


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a vHeat of this project their official names: the inverse of :func:`convert_checkpoint`.

    Args:
        state_dict: ``model.state_dict()`` of a network in train form, or in precomputed form without its source
            (``model.reparameterize([224], keep_source=False)``).

    Returns:
        Official names to tensors, without prefix.

    Raises:
        ValueError: A name has no official one, or half of a split tensor is missing.

    Example:
        >>> import torch
        >>> list(to_official({"stages.0.blocks.1.mlp.fc1.weight": torch.zeros(8, 2)}))
        ['layers.0.1.mlp.fc1.weight']
    """
    return VHEAT.to_official(state_dict)
