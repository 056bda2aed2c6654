"""Shared by the tests of the backbones: random weights, official tensors written down from the specification, a net."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from backbones import SpectralNet, heat_operator

DIMS, DEPTHS = (8, 12, 16, 20), (1, 2, 2, 1)


def _randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            if name.endswith("embedding.weight"):
                p.copy_(noise)
            elif p.ndim > 1:
                p.copy_(noise / p[0].numel() ** 0.5)
            else:  # biases, norms, layer scales: all of order one
                p.copy_(0.7 + 0.3 * noise)
    return model


def _official_shapes(
    dims: tuple[int, ...],
    depths: tuple[int, ...],
    *,
    image: int = 224,
    post: bool = False,
    precomputed: bool = False,
    dense: bool = False,
    classes: int = 1000,
) -> dict[str, tuple[int, ...]]:
    """The names and shapes of an official file, from the list in the specification."""
    shapes: dict[str, tuple[int, ...]] = {}

    def affine(name: str, *weight: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, weight[:1]

    affine("patch_embed.conv1", dims[0] // 2, 3, 3, 3)
    affine("patch_embed.norm1.1", dims[0] // 2)
    affine("patch_embed.conv2", dims[0], dims[0] // 2, 3, 3)
    affine("patch_embed.norm2.1", dims[0])
    for i, (c, depth) in enumerate(zip(dims, depths, strict=True)):
        r = image // 4 // 2**i
        if not precomputed:
            shapes[f"freq_embed.{i}"] = (r, r, c)
        for j in range(depth):
            block = f"layers.{i}.{j}"
            affine(f"{block}.norm1", c)
            affine(f"{block}.norm2", c)
            affine(f"{block}.op.dwconv", c, 1, 3, 3)
            affine(f"{block}.op.linear", 2 * c, c)
            affine(f"{block}.op.out_norm", c)
            affine(f"{block}.op.out_linear", c, c)
            if precomputed:
                shapes[f"{block}.op.k_exp"] = (r, r, c)
            else:
                affine(f"{block}.op.to_k.0", c, c)
            affine(f"{block}.mlp.fc1", 4 * c, c, 1, 1)
            affine(f"{block}.mlp.fc2", c, 4 * c, 1, 1)
            if post:
                shapes[f"{block}.gamma1"] = shapes[f"{block}.gamma2"] = (c,)
        if i < 3:
            shapes[f"layers.{i}.{depth}.0.weight"] = (dims[i + 1], c, 3, 3)
            affine(f"layers.{i}.{depth}.1", dims[i + 1])
        if dense:
            affine(f"outnorm{i}", c)
    if not dense:
        affine("classifier.0", dims[3])
        affine("classifier.3", classes, dims[3])
    return shapes


def _official(
    dims: tuple[int, ...] = DIMS,
    depths: tuple[int, ...] = DEPTHS,
    *,
    image: int = 64,
    classes: int = 7,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    **form: bool,
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in _official_shapes(dims, depths, image=image, classes=classes, **form).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith("k_exp"):
            noise = noise.sigmoid()
        elif len(shape) == 1:
            noise = 0.7 + 0.3 * noise
        elif not name.startswith("freq_embed"):
            noise = noise / noise[0].numel() ** 0.5
        state[name] = noise.to(dtype)
    return state


def _make_net(
    *, image: int | tuple[int, int] = 64, post: bool = False, classes: int = 7, **options: object
) -> SpectralNet:
    norms = {"norm_placement": "post", "layer_scale": 0.5} if post else {}
    arguments = {"dims": DIMS, "depths": DEPTHS, "img_size": image, "num_classes": classes, **norms, **options}
    return SpectralNet(heat_operator, **arguments)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Networks this small only lose time to threads that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def randomise() -> Callable[..., nn.Module]:
    """Overwrite every parameter with values of order one, from a seed."""
    return _randomise


@pytest.fixture
def official_shapes() -> Callable[..., dict[str, tuple[int, ...]]]:
    """Names and shapes of an official file."""
    return _official_shapes


@pytest.fixture
def official() -> Callable[..., dict[str, Tensor]]:
    """A random official file of a small network."""
    return _official


@pytest.fixture
def make_net() -> Callable[..., SpectralNet]:
    """The small network that :func:`official` files are of."""
    return _make_net


@pytest.fixture
def net() -> SpectralNet:
    """A small random network in evaluation mode."""
    return _randomise(_make_net()).eval()
