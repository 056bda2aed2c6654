"""What training scripts put around a network's weights: a container for the state dict, prefixes before its names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

__all__ = ["Weights", "check_weights", "strip_prefixes", "unwrap"]

Weights = Literal["raw", "ema"]
#: Where a training script keeps its tensors, the first that is there.
_CONTAINERS: dict[str, tuple[str, ...]] = {
    "raw": ("model", "state_dict", "module"),
    "ema": ("model_ema", "state_dict_ema"),
}


def check_weights(weights: str) -> None:
    """Raise ``ValueError`` for another argument than ``"raw"`` and ``"ema"``."""
    if weights not in _CONTAINERS:
        raise ValueError(f"weights must be one of {tuple(_CONTAINERS)}, got {weights!r}")


def unwrap(checkpoint: Mapping[str, Any], weights: Weights) -> Mapping[str, Tensor]:
    """The state dict inside a checkpoint.

    Args:
        checkpoint: What a file holds.
        weights: ``"raw"``, or ``"ema"`` for the moving average.

    Raises:
        ValueError: It holds none of that kind.
    """
    names = _CONTAINERS[weights]
    if "ema_state_dict" in checkpoint:  # mmengine's EMA hook stores the average as the model and the model beside it
        names = {"raw": ("ema_state_dict",), "ema": ("state_dict",)}[weights]
    elif weights == "raw" and any(isinstance(value, Tensor) for value in checkpoint.values()):
        return checkpoint
    for name in names:
        if isinstance(checkpoint.get(name), dict):
            return checkpoint[name]
    raise ValueError(
        f"weights={weights!r} are kept under one of {names}, the file holds {', '.join(map(str, list(checkpoint)[:6]))}"
    )


def strip_prefixes(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove ``module.``, ``backbone.`` and ``encoder.`` from the front of names, however they are nested.

    Where some names carry ``backbone.`` or ``encoder.``, the file is that of a larger model, and names without are left
    out as belonging to its other parts.

    Raises:
        ValueError: Two names of the file become the same.

    Example:
        >>> import torch
        >>> strip_prefixes({"module.backbone.norm.bias": torch.zeros(1), "module.neck.bias": torch.zeros(1)})
        {'norm.bias': tensor([0.])}
    """
    parts = {name: re.fullmatch(r"((?:module\.|backbone\.|encoder\.)*)(.*)", name, re.DOTALL) for name in state_dict}
    inner = {name for name, match in parts.items() if match and re.search("backbone|encoder", match.group(1))}
    result: dict[str, Tensor] = {}
    for name, match in parts.items():
        if match is None or (inner and name not in inner):
            continue
        if match.group(2) in result:
            raise ValueError(f"two tensors of the file are both {match.group(2)!r} once prefixes are removed")
        result[match.group(2)] = state_dict[name]
    return result
