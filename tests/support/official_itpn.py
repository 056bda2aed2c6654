"""What iTPN's pre-training computes on official names, written down from the specification in plain tensor code.

It stands on :mod:`official_hivit`, which has the equations of network and pyramid.
"""

from __future__ import annotations

import official_hivit as official
import torch
from torch import Tensor

EPS = official.EPS


def last_merge(state: dict[str, Tensor]) -> int:
    return max(int(n.split(".")[1]) for n in state if n.startswith("blocks.") and n.endswith("reduction.weight"))


def tokens(state: dict[str, Tensor], second: list[Tensor]) -> Tensor:
    """Of units before the last stage, without positions."""
    name = f"blocks.{last_merge(state)}"
    return torch.stack([official._merge(state, name, unit, EPS)[0, 0] for unit in second])


def last_stage(state: dict[str, Tensor], x: Tensor, heads: int) -> list[Tensor]:
    """What each block makes of tokens with positions."""
    found = []
    count = 1 + max(int(n.split(".")[1]) for n in state if n.startswith("blocks."))
    for n in range(last_merge(state) + 1, count):
        x = official._block(state, f"blocks.{n}", x, heads, None, EPS)
        found.append(x)
    return found


def units_of(image: Tensor) -> list[Tensor]:
    """The values of each unit of ``(C, H, W)`` in the order (row, column, channel)."""
    rows, columns = image.shape[1] // 16, image.shape[2] // 16
    return [
        torch.stack([image[c, 16 * i + y, 16 * j + x] for y in range(16) for x in range(16) for c in range(len(image))])
        for i in range(rows)
        for j in range(columns)
    ]


def pixels(state: dict[str, Tensor], image: Tensor, keep: list[int], heads: int, decoder_heads: int):
    """Loss, predictions ``(L, 768)`` and levels, lists of kept units, of one image."""
    first, second, _, _ = official.stage_units(state, image, heads)
    first, second = [first[k] for k in keep], [second[k] for k in keep]
    x = tokens(state, second) + state["absolute_pos_embed"][0][keep]
    last = [token[None, None] for token in last_stage(state, x, heads)[-1]]
    levels = official.pyramid_units(state, first, second, last)
    x = torch.empty_like(state["decoder_pos_embed"][0])
    for unit in range(len(x)):
        x[unit] = 3 * state["mask_token"][0, 0]
        if unit in keep:
            x[unit] = sum(
                embedded(state, f"decoder_embed.{2 - i}", level[keep.index(unit)]) for i, level in enumerate(levels)
            )
    x = x + state["decoder_pos_embed"][0]
    for k in range(len([n for n in state if n.startswith("decoder_blocks.") and n.endswith("norm1.weight")])):
        x = official._block(state, f"decoder_blocks.{k}", x, decoder_heads, None, EPS)
    prediction = official._linear(state, "decoder_pred", official._norm(state, "decoder_norm", x, EPS))
    errors = []
    for unit, values in enumerate(units_of(image)):
        if unit not in keep:
            centred = values - values.sum() / 768
            target = centred / ((centred**2).sum() / 767 + 1e-6) ** 0.5
            errors.append(((prediction[unit] - target) ** 2).sum() / 768)
    return sum(errors) / len(errors), prediction, levels


def embedded(state: dict[str, Tensor], name: str, unit: Tensor) -> Tensor:
    """A unit ``(p, p, F)`` as one vector, cell by cell."""
    normed = official._norm(state, f"{name}.0", unit, EPS)
    p = len(unit)
    return torch.cat([official._linear(state, f"{name}.1", normed[y, x]) for y in range(p) for x in range(p)])
