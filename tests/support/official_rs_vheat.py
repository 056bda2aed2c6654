"""RS-vHeat's published encoder, written down from its equations: channels-last, official names, plain tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

DIMS, DEPTHS = (8, 12, 16, 20), (1, 2, 2, 1)


def official_shapes(
    dims: tuple[int, ...] = DIMS,
    depths: tuple[int, ...] = DEPTHS,
    *,
    image: int = 64,
    post: bool = True,
    classes: int = 0,
    stems: dict[str, int] | None = None,
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an official file."""
    shapes: dict[str, tuple[int, ...]] = {}

    def affine(name: str, *weight: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, weight[:1]

    for stem, bands in ({"opt": 3, "sar": 1} if stems is None else stems).items():
        affine(f"patch_embed_{stem}.conv1", dims[0] // 2, bands, 3, 3)
        affine(f"patch_embed_{stem}.norm1.1", dims[0] // 2)
        affine(f"patch_embed_{stem}.conv2", dims[0], dims[0] // 2, 3, 3)
        affine(f"patch_embed_{stem}.norm2.1", dims[0])
    for i, (c, depth) in enumerate(zip(dims, depths, strict=True)):
        side = image // 4 // 2**i
        shapes[f"freq_embed.{i}"] = shapes[f"heat_capacity.{i}"] = (side, side, c)
        for j in range(depth):
            name = f"layers.{i}.{j}"
            for norm in ("norm1", "norm2", "op.norm1", "op.out_norm"):
                affine(f"{name}.{norm}", c)
            affine(f"{name}.op.dwconv", c, 1, 3, 3)
            affine(f"{name}.op.linear", 2 * c, c)
            affine(f"{name}.op.out_linear", c, c)
            affine(f"{name}.op.to_k.0", c, c)
            affine(f"{name}.mlp.fc1", 4 * c, c, 1, 1)
            affine(f"{name}.mlp.fc2", c, 4 * c, 1, 1)
            if post:
                shapes[f"{name}.gamma1"] = shapes[f"{name}.gamma2"] = (c,)
        if i < 3:
            shapes[f"layers.{i}.{depth}.0.weight"] = (dims[i + 1], c, 3, 3)
            affine(f"layers.{i}.{depth}.1", dims[i + 1])
    if classes:
        affine("classifier.0", dims[3])
        affine("classifier.3", classes, dims[3])
    return shapes


def official_state(seed: int = 0, **options: object) -> dict[str, Tensor]:
    """A random file, every tensor of order one, in float64."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in official_shapes(**options).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) == 1:
            noise = 0.7 + 0.3 * noise
        elif not name.startswith(("freq_embed", "heat_capacity")):
            noise = noise / noise[0].numel() ** 0.5
        state[name] = noise
    return state


def _norm(x: Tensor, state: dict[str, Tensor], name: str, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def _dense(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return x @ state[f"{name}.weight"].flatten(1).T + state[f"{name}.bias"]


def _gelu(x: Tensor) -> Tensor:
    return x * torch.erfc(-x / math.sqrt(2)) / 2


def _conv(x: Tensor, state: dict[str, Tensor], name: str, stride: int, groups: int = 1) -> Tensor:
    weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, stride=stride, padding=1, groups=groups)
    return y.permute(0, 2, 3, 1)


def _cosines(n: int) -> Tensor:
    """Row k is the orthonormal k-th cosine mode."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    basis = torch.cos(math.pi * k * (i + 0.5) / n) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis


def _on(values: Tensor, sizes: tuple[int, int]) -> Tensor:
    """A learned map (H0, W0, C) on another grid: bilinear, half-pixel centres, clamped at the edges, as a product."""

    def weights(old: int, new: int) -> Tensor:
        matrix = torch.zeros(new, old, dtype=torch.float64)
        for row in range(new):
            at = max((row + 0.5) * old / new - 0.5, 0.0)
            low = min(int(at), old - 1)
            matrix[row, low] += 1 - (at - low)
            matrix[row, min(low + 1, old - 1)] += at - low
        return matrix

    rows, columns = weights(values.shape[0], sizes[0]), weights(values.shape[1], sizes[1])
    return torch.einsum("ah,bw,hwc->abc", rows, columns, values)


def _operator(x: Tensor, state: dict[str, Tensor], name: str, embedding: Tensor, capacity: Tensor) -> Tensor:
    height, width, channels = x.shape[1:]
    x = _norm((x + capacity).clamp(min=0), state, f"{name}.norm1", 1e-5)
    x = _conv(x, state, f"{name}.dwconv", 1, groups=channels)
    value, gate = _dense(x, state, f"{name}.linear").split(channels, -1)
    k = _dense(embedding, state, f"{name}.to_k.0").clamp(min=0)
    rows, columns = torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64)
    decay = (math.pi * rows / height).square()[:, None] + (math.pi * columns / width).square()
    gain = torch.exp(-decay[:, :, None] * k)
    assert gain.mean() < 0.9 and gain.std() > 0.1  # far from the identity, or the comparison would prove nothing
    up, across = _cosines(height), _cosines(width)
    spectrum = torch.einsum("nh,mw,bhwc->bnmc", up, across, value) * gain
    mixed = torch.einsum("nh,mw,bnmc->bhwc", up, across, spectrum)
    return _dense(
        _norm(mixed, state, f"{name}.out_norm", 1e-5) * gate / (1 + torch.exp(-gate)), state, f"{name}.out_linear"
    )


def encode(state: dict[str, Tensor], images: Tensor, stem: str, depths: tuple[int, ...] = DEPTHS) -> list[Tensor]:
    """Maps (B, H, W, C) of the four stages for images (B, bands, H, W), before each downsampling."""
    name = f"patch_embed_{stem}"
    x = _conv(images.permute(0, 2, 3, 1), state, f"{name}.conv1", 2)
    x = _conv(_gelu(_norm(x, state, f"{name}.norm1.1", 1e-6)), state, f"{name}.conv2", 2)
    x = _norm(x, state, f"{name}.norm2.1", 1e-6)
    maps = []
    for i, depth in enumerate(depths):
        embedding = _on(state[f"freq_embed.{i}"], x.shape[1:3])
        capacity = _on(state[f"heat_capacity.{i}"], x.shape[1:3])
        for j in range(depth):
            name = f"layers.{i}.{j}"

            def op(x: Tensor, name: str = name, e: Tensor = embedding, c: Tensor = capacity) -> Tensor:
                return _operator(x, state, f"{name}.op", e, c)

            def mlp(x: Tensor, name: str = name) -> Tensor:
                return _dense(_gelu(_dense(x, state, f"{name}.mlp.fc1")), state, f"{name}.mlp.fc2")

            if f"{name}.gamma1" in state:
                x = x + state[f"{name}.gamma1"] * _norm(op(x), state, f"{name}.norm1", 1e-6)
                x = x + state[f"{name}.gamma2"] * _norm(mlp(x), state, f"{name}.norm2", 1e-6)
            else:
                x = x + op(_norm(x, state, f"{name}.norm1", 1e-6))
                x = x + mlp(_norm(x, state, f"{name}.norm2", 1e-6))
        maps.append(x)
        if i < 3:
            x = _norm(_conv(x, state, f"layers.{i}.{depth}.0", 2), state, f"layers.{i}.{depth}.1", 1e-5)
    return maps


def classify(state: dict[str, Tensor], last: Tensor) -> Tensor:
    """Logits of the last map."""
    return _dense(_norm(last, state, "classifier.0", 1e-5).mean((1, 2)), state, "classifier.3")
