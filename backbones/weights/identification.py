"""From tensors to the network they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from backbones.network import SpectralNet
from backbones.operators import heat_operator

__all__ = ["network_like"]


def network_like(state: Mapping[str, Tensor]) -> SpectralNet:
    """A fresh vHeat with the sizes of a state dict under this project's names, ready to load it.

    Widths, depths, norm placement, classes, input channels and the image size are read off names and shapes. A network
    without classifier in the file has none.

    Args:
        state: As :func:`~backbones.weights.loading.read_weights` returns it.

    Raises:
        ValueError: It lacks what the sizes are read from.

    Example:
        >>> import timm
        >>> net = network_like(timm.create_model("vheat_nano", num_classes=7, img_size=96).state_dict())
        >>> net.num_classes, [len(stage.blocks) for stage in net.stages]
        (7, [1, 1, 3, 1])
    """
    widths: dict[tuple[int, int], int] = {}
    for name, tensor in state.items():
        if match := re.fullmatch(r"stages\.(\d{1,2})\.blocks\.(\d{1,3})\.norm1\.weight", name):
            widths[int(match.group(1)), int(match.group(2))] = tensor.numel()
    stages = range(1 + max((stage for stage, _ in widths), default=-1))
    stem, hidden = state.get("stem.conv1.weight"), state.get("stages.0.blocks.0.mlp.fc1.weight")
    grid = _first_grid(state)
    if not widths or any((i, 0) not in widths for i in stages) or stem is None or hidden is None or grid is None:
        raise ValueError("these tensors are not those of a whole vHeat: stem, blocks or embedding are missing")
    classifier = state.get("head.fc.weight")
    return SpectralNet(
        heat_operator,
        dims=[widths[i, 0] for i in stages],
        depths=[sum(stage == i for stage, _ in widths) for i in stages],
        norm_placement="post" if "stages.0.blocks.0.scale1.gamma" in state else "pre",
        layer_scale=1.0 if "stages.0.blocks.0.scale1.gamma" in state else None,
        mlp_ratio=hidden.shape[0] / widths[0, 0],
        in_chans=stem.shape[1],
        num_classes=0 if classifier is None else len(classifier),
        img_size=(4 * grid[0], 4 * grid[1]),
    )


def _first_grid(state: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """Map size of the first stage, from its embedding or from a stored gain."""
    embedding = state.get("stages.0.embedding.weight")
    if embedding is not None:
        return embedding.shape[0], embedding.shape[1]
    for name in state:
        if match := re.fullmatch(r"stages\.0\.blocks\.0\.mixer\.operator\.gain_(\d+)x(\d+)", name):
            return int(match.group(1)), int(match.group(2))
    return None
