"""Official HiViT files written down from the specification, and what they compute, in plain tensor code.

Nothing here imports the project: the equations are those of spec and papers, unit by unit, in float64, on the names
that official files have.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-6


def shapes(
    e: int = 32,
    depths: tuple[int, int, int] = (1, 2, 2),
    heads: int = 2,
    *,
    side: int = 4,
    classes: int | None = None,
    relative: bool = False,
    pyramid: tuple[int, int] | None = None,
    decoder: tuple[int, int] | None = None,
    fast: bool = False,
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a file.

    ``pyramid`` is its width and depth, ``decoder`` its width and depth, both None for none.
    """
    found: dict[str, tuple[int, ...]] = {"absolute_pos_embed": (1, side**2, e)}

    def affine(name: str, *weight: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = weight, weight[:1]

    def mlp(name: str, c: int, hidden: int) -> None:
        affine(f"{name}.mlp.fc1", hidden, c)
        affine(f"{name}.mlp.fc2", c, hidden)

    def attention(name: str, c: int, bias: bool = False) -> None:
        affine(f"{name}.norm1", c)
        affine(f"{name}.attn.qkv", 3 * c, c)
        affine(f"{name}.attn.proj", c, c)
        if bias:
            found[f"{name}.attn.relative_position_bias_table"] = ((2 * side - 1) ** 2, heads)
        affine(f"{name}.norm2", c)
        mlp(name, c, 4 * c)

    def eva(name: str) -> None:
        affine(f"{name}.norm1", e)
        for part in "qkv":
            found[f"{name}.attn.{part}_proj.weight"] = (e, e)
        found[f"{name}.attn.q_bias"] = found[f"{name}.attn.v_bias"] = (e,)
        affine(f"{name}.attn.proj", e, e)
        affine(f"{name}.norm2", e)
        affine(f"{name}.mlp.w1", 3 * e, e)
        affine(f"{name}.mlp.w2", 3 * e, e)
        affine(f"{name}.mlp.ffn_ln", 3 * e)
        affine(f"{name}.mlp.w3", e, 3 * e)
        found[f"{name}.gamma_1"] = found[f"{name}.gamma_2"] = (e,)

    affine("patch_embed.proj", e // 4, 3, 4, 4)
    if not fast:
        affine("patch_embed.norm", e // 4)
    n = 0
    for stage, depth in enumerate(depths):
        c = e // 4 * 2**stage
        if stage and fast:
            affine(f"blocks.{n}.norm", c // 2)
            affine(f"blocks.{n}.reduction", c, c // 2, 2, 2)
        elif stage:
            affine(f"blocks.{n}.norm", 2 * c)
            found[f"blocks.{n}.reduction.weight"] = (c, 2 * c)
        n += stage > 0
        for n in range(n, n + depth):  # noqa: B020 (it goes on counting)
            if stage == 2 and fast:
                eva(f"blocks.{n}")
            elif stage == 2:
                attention(f"blocks.{n}", c, relative)
            else:
                affine(f"blocks.{n}.norm2", c)
                mlp(f"blocks.{n}", c, 3 * c)
                if fast:
                    affine(f"blocks.{n}.mlp.ffn_ln", 3 * c)
        n += 1
    if relative:
        found["relative_position_index"] = (side**2, side**2)
    if classes is not None:
        affine("fc_norm", e)
        affine("head", classes, e)
    if pyramid:
        f, depth = pyramid
        affine("align_dim_16tofpn", f, e)
        for step, above, lateral in (("16to8", e, e // 2), ("8to4", f, e // 4)):
            found[f"align_dim_{step}.weight"] = (f, lateral)
            affine(f"split_{step}.norm", above)
            found[f"split_{step}.reduction.weight"] = (4 * f, above)
            for k in range(depth):
                affine(f"block_{step}.{k}.norm2", f)
                mlp(f"block_{step}.{k}", f, 4 * f)
        for level in range(3):
            affine(f"fpn_modules.{level}.norm2", f)
            mlp(f"fpn_modules.{level}", f, 4 * f)
    if decoder:
        d, depth = decoder
        found["mask_token"], found["decoder_pos_embed"] = (1, 1, d), (1, side**2, d)
        for level in range(3):
            affine(f"decoder_embed.{level}.0", f)
            affine(f"decoder_embed.{level}.1", d // 4**level, f)
        for k in range(depth):
            attention(f"decoder_blocks.{k}", d)
        affine("decoder_norm", d)
        affine("decoder_pred", 768, d)
    return found


def relative_index(side: int) -> Tensor:
    """By the specification's formula, pair by pair."""
    places = [(y, x) for y in range(side) for x in range(side)]
    rows = [[(qy - ky + side - 1) * (2 * side - 1) + qx - kx + side - 1 for ky, kx in places] for qy, qx in places]
    return torch.tensor(rows)


def official(seed: int = 0, dtype: torch.dtype = torch.float64, **form: object) -> dict[str, Tensor]:
    """A random file, every number of it of order one."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes(**form).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name == "relative_position_index":
            state[name] = relative_index(math.isqrt(shape[0]))
            continue
        if len(shape) == 1:
            noise = 0.7 + 0.3 * noise
        elif len(shape) > 1 and not name.endswith(("_embed", "_table", "_token")):
            noise = noise / noise[0].numel() ** 0.5
        state[name] = noise.to(dtype)
    return state


# -- what such a file computes ----------------------------------------------------------------------------------------


def _norm(state, name, x, eps=EPS):
    mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (var + eps).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def _linear(state, name, x):
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def _gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def _mlp_block(state, name, x, eps=EPS):
    hidden = _gelu(_linear(state, f"{name}.mlp.fc1", _norm(state, f"{name}.norm2", x, eps)))
    if f"{name}.mlp.ffn_ln.weight" in state:
        hidden = _norm(state, f"{name}.mlp.ffn_ln", hidden, eps)
    return x + _linear(state, f"{name}.mlp.fc2", hidden)


def _merge(state, name, unit, eps):
    """A unit ``(p, p, C)`` to ``(p/2, p/2, 2C)``."""
    weight, half = state[f"{name}.reduction.weight"], unit.shape[0] // 2
    out = torch.empty(half, half, weight.shape[0], dtype=unit.dtype)
    for y in range(half):
        for x in range(half):
            square = unit[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            if weight.ndim == 4:  # a convolution
                normed = _norm(state, f"{name}.norm", square, eps)
                out[y, x] = sum(weight[:, :, i, j] @ normed[i, j] for i in range(2) for j in range(2))
                out[y, x] += state[f"{name}.reduction.bias"]
            else:
                joined = torch.cat([square[0, 0], square[1, 0], square[0, 1], square[1, 1]])
                out[y, x] = weight @ _norm(state, f"{name}.norm", joined, eps)
    return out


def _attention(state, name, x, heads, bias):
    """Tokens ``(N, C)``, head by head."""
    c = x.shape[1]
    if f"{name}.attn.qkv.weight" in state:
        q, k, v = _linear(state, f"{name}.attn.qkv", x).split(c, -1)
    else:
        q, k, v = (x @ state[f"{name}.attn.{part}_proj.weight"].T for part in "qkv")
        q, v = q + state[f"{name}.attn.q_bias"], v + state[f"{name}.attn.v_bias"]
    out, d = torch.empty_like(x), c // heads
    for head in range(heads):
        own = slice(head * d, (head + 1) * d)
        scores = q[:, own] @ k[:, own].T / math.sqrt(d)
        if bias is not None:
            scores = scores + bias[head]
        out[:, own] = scores.softmax(-1) @ v[:, own]
    return _linear(state, f"{name}.attn.proj", out)


def _block(state, name, x, heads, bias, eps):
    one, two = state.get(f"{name}.gamma_1", 1.0), state.get(f"{name}.gamma_2", 1.0)
    x = x + one * _attention(state, name, _norm(state, f"{name}.norm1", x, eps), heads, bias)
    normed = _norm(state, f"{name}.norm2", x, eps)
    if f"{name}.mlp.w1.weight" in state:
        gate, value = _linear(state, f"{name}.mlp.w1", normed), _linear(state, f"{name}.mlp.w2", normed)
        hidden = _norm(state, f"{name}.mlp.ffn_ln", gate * gate.sigmoid() * value, eps)
        return x + two * _linear(state, f"{name}.mlp.w3", hidden)
    return x + two * _linear(state, f"{name}.mlp.fc2", _gelu(_linear(state, f"{name}.mlp.fc1", normed)))


def _positions(state, grid):
    table = state["absolute_pos_embed"]
    side = math.isqrt(table.shape[1])
    if grid == (side, side):
        return table[0]
    image = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    factors = [(n + 0.1) / side for n in grid]
    image = F.interpolate(image, scale_factor=factors, mode="bicubic", align_corners=False)
    assert tuple(image.shape[2:]) == grid
    return image[0].flatten(1).T


def _bias(state, name, grid):
    """``(heads, N, N)``, pair by pair."""
    table = state.get(f"{name}.attn.relative_position_bias_table")
    if table is None:
        return None
    h, w = grid
    rows = math.isqrt(len(table))
    if (2 * h - 1, 2 * w - 1) != (rows, rows):
        image = table.reshape(1, rows, rows, -1).permute(0, 3, 1, 2)
        image = F.interpolate(image, size=(2 * h - 1, 2 * w - 1), mode="bicubic", align_corners=False)
        table = image[0].flatten(1).T
    places = [(y, x) for y in range(h) for x in range(w)]
    pairs = [[table[(qy - ky + h - 1) * (2 * w - 1) + qx - kx + w - 1] for ky, kx in places] for qy, qx in places]
    return torch.stack([torch.stack(row) for row in pairs]).permute(2, 0, 1)


def stage_units(state: dict[str, Tensor], image: Tensor, heads: int = 2, eps: float = EPS):
    """The maps of the three stages of one image ``(3, H, W)``: lists of units ``(p, p, C)``, and the grid."""
    height, width = image.shape[1:]
    grid = math.ceil(height / 16), math.ceil(width / 16)
    canvas = torch.zeros(3, 16 * grid[0], 16 * grid[1], dtype=image.dtype)
    canvas[:, :height, :width] = image
    merges = sorted(int(n.split(".")[1]) for n in state if n.endswith("reduction.weight") and n.startswith("blocks."))
    count = 1 + max(int(n.split(".")[1]) for n in state if n.startswith("blocks."))
    kernel = state["patch_embed.proj.weight"].flatten(1)
    first, second, tokens = [], [], []
    for gy in range(grid[0]):
        for gx in range(grid[1]):
            unit = torch.empty(4, 4, len(kernel), dtype=image.dtype)
            for y in range(4):
                for x in range(4):
                    top, left = 16 * gy + 4 * y, 16 * gx + 4 * x
                    unit[y, x] = kernel @ canvas[:, top : top + 4, left : left + 4].flatten()
            unit += state["patch_embed.proj.bias"]
            if "patch_embed.norm.weight" in state:
                unit = _norm(state, "patch_embed.norm", unit, eps)
            for n in range(merges[0]):
                unit = _mlp_block(state, f"blocks.{n}", unit, eps)
            first.append(unit)
            unit = _merge(state, f"blocks.{merges[0]}", unit, eps)
            for n in range(merges[0] + 1, merges[1]):
                unit = _mlp_block(state, f"blocks.{n}", unit, eps)
            second.append(unit)
            tokens.append(_merge(state, f"blocks.{merges[1]}", unit, eps)[0, 0])
    x = torch.stack(tokens) + _positions(state, grid)
    for n in range(merges[1] + 1, count):
        x = _block(state, f"blocks.{n}", x, heads, _bias(state, f"blocks.{n}", grid), eps)
    return first, second, [token[None, None] for token in x], grid


def _split(state, name, unit, eps):
    y = _norm(state, f"{name}.norm", unit, eps) @ state[f"{name}.reduction.weight"].T
    p, f = unit.shape[0], y.shape[-1] // 4
    out = torch.empty(2 * p, 2 * p, f, dtype=unit.dtype)
    for i, (dy, dx) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        out[dy::2, dx::2] = y[..., i * f : (i + 1) * f]
    return out


def pyramid_units(state, first, second, last, eps: float = EPS):
    """Levels of strides 4, 8 and 16, each a list of units."""
    levels = [], [], []
    depth = len([n for n in state if n.startswith("block_16to8.") and n.endswith("norm2.weight")])
    for one, two, three in zip(first, second, last, strict=True):
        x = _split(state, "split_16to8", three, eps) + _linear(state, "align_dim_16to8", two)
        for k in range(depth):
            x = _mlp_block(state, f"block_16to8.{k}", x, eps)
        y = _split(state, "split_8to4", x, eps) + _linear(state, "align_dim_8to4", one)
        for k in range(depth):
            y = _mlp_block(state, f"block_8to4.{k}", y, eps)
        levels[0].append(_mlp_block(state, "fpn_modules.2", y, eps))
        levels[1].append(_mlp_block(state, "fpn_modules.1", x, eps))
        levels[2].append(_mlp_block(state, "fpn_modules.0", _linear(state, "align_dim_16tofpn", three), eps))
    return levels


def as_map(units: list[Tensor], grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Units side by side, ``(C, rows, columns)``, cut to the cells that the image has."""
    rows = [torch.cat(units[y * grid[1] : (y + 1) * grid[1]], 1) for y in range(grid[0])]
    stride = 16 // units[0].shape[0]
    whole = torch.cat(rows, 0)[: math.ceil(size[0] / stride), : math.ceil(size[1] / stride)]
    return whole.permute(2, 0, 1)


def logits(state, last, eps: float = EPS) -> Tensor:
    """Of one image, from the tokens of its last stage."""
    return _linear(state, "head", _norm(state, "fc_norm", torch.stack(last).mean((0, 1, 2)), eps))
