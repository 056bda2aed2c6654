"""The grids of the token sequences that a network's blocks take: hooks that follow them, and a run that finds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adapters.config import MoPPAConfig
from adapters.grid import TokenGrid
from adapters.targets import GridSource, Target, bare_modules
from spectral_ops.modes import evaluating

__all__ = ["probe_grids", "watch_grids"]


def watch_grids(model: nn.Module, targets: dict[str, Target]) -> tuple[dict[str, TokenGrid], list[RemovableHandle]]:
    """A token grid for every target that takes sequences, and the hooks that keep them up to date."""
    modules = bare_modules(model)
    grids: dict[Any, TokenGrid] = {}
    hooks: list[RemovableHandle] = []
    tokens: dict[str, TokenGrid] = {}
    for name, target in targets.items():
        if not target.unit or target.layout != "tokens":
            continue
        source, key = target.grid_from, (target.grid_from, target.prefix)
        if key not in grids:
            fixed, reader = (None, source.reader) if isinstance(source, GridSource) else (source, None)
            grids[key] = grid = TokenGrid(target.prefix, fixed, reader)
            if isinstance(source, GridSource):
                hooks += _hooks(grid, source, modules)
        tokens[name] = grids[key]
    return tokens, hooks


def _hooks(grid: TokenGrid, source: GridSource, modules: dict[str, nn.Module]) -> Iterator[RemovableHandle]:
    if source.patches is not None:
        yield modules[source.patches].register_forward_hook(grid.read_output)
    for block in source.blocks:
        yield modules[block].register_forward_pre_hook(grid.enter, with_kwargs=True)
        yield modules[block].register_forward_hook(grid.leave, always_call=True)


@torch.no_grad()
def probe_grids(
    model: nn.Module, config: MoPPAConfig, targets: dict[str, Target], tokens: dict[str, TokenGrid]
) -> dict[str, tuple[int, int]]:
    """The grid each unit meets for an image of the size the released coefficients are stored at: the network is run.

    Raises:
        ValueError: The network does not start with a convolution, or its image size is not known.
    """
    sizes = _image_size(model, config)
    modules = dict(model.named_modules())
    bare = bare_modules(model)
    grids: dict[str, tuple[int, int]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            shape, layout = args[0].shape, targets[name].layout
            found = tokens[name].sizes(args[0]) if layout == "tokens" else shape[1:3] if layout == "NHWC" else shape[2:]
            assert found is not None
            grids[name] = (int(found[0]), int(found[1]))

        return hook

    hooks = [modules[name].register_forward_pre_hook(note(name)) for name, target in targets.items() if target.unit]
    first = next((m for m in bare.values() if isinstance(m, nn.Conv2d)), None)
    try:
        if first is None:
            raise ValueError("physics='released' needs a network that starts with a convolution, to know its images")
        image = first.weight.new_zeros(1, getattr(model, "in_chans", None) or first.in_channels, *sizes)
        with evaluating(model):
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return grids


def _image_size(model: nn.Module, config: MoPPAConfig) -> tuple[int, int]:
    """The config's image size, or the network's own."""
    embed = getattr(model, "patch_embed", None)
    card = getattr(model, "pretrained_cfg", None) or {}
    size = config.img_size or getattr(embed, "img_size", None)
    size = size or getattr(getattr(model, "config", None), "image_size", None) or tuple(card.get("input_size", ()))[1:]
    if not size:
        raise ValueError("physics='released' stores coefficients for one grid: give img_size, the network has none")
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
