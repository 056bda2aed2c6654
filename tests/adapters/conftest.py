"""Small networks of every kind MoPPA adapts, and randomised adapters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from peft import PeftModel, get_peft_model
from torch import nn

import adapters
import backbones  # noqa: F401 (registers vheat_*)

#: Name of timm, arguments, image size, and how many blocks there are.
NETWORKS = {
    "vit": ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2}, (64, 64), 2),
    "deit_distilled": ("deit_tiny_distilled_patch16_224", {"img_size": 64, "depth": 2}, (64, 64), 2),
    "registers": (
        "vit_small_patch14_reg4_dinov2",
        {"img_size": 56, "embed_dim": 96, "depth": 2, "num_heads": 3},
        (56, 56),
        2,
    ),
    "beit": ("beit_base_patch16_224", {"img_size": 64, "embed_dim": 64, "depth": 2, "num_heads": 2}, (64, 64), 2),
    "eva": ("eva02_tiny_patch14_224", {"img_size": 56, "depth": 2}, (56, 56), 2),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "embed_dim": 32, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 4, 8), "window_size": 2},
        (64, 64),
        5,
    ),
    "convnext": ("convnext_atto", {"depths": (1, 1, 2, 1)}, (64, 96), 5),
    "convnext_linear": ("convnext_tiny", {"dims": (32, 64, 96, 128), "depths": (1, 1, 2, 1)}, (64, 96), 5),
    "vheat": ("vheat_nano", {}, (64, 96), 6),
    "vheat_post_norm": ("vheat_nano", {"norm_placement": "post", "layer_scale": 1.0}, (64, 96), 6),
}


def _network(kind: str) -> nn.Module:
    name, options, _, _ = NETWORKS[kind]
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **options).eval()


def _images(kind: str, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, *NETWORKS[kind][2], generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def _randomise(model: nn.Module) -> None:
    """Give every adapter parameter a value that matters."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "moppa_" in name:
            noise = torch.rand(parameter.shape, generator=generator)
            if name.endswith(".up"):  # of either sign and small: a product of rank one would drown the weight
                parameter.copy_(0.4 * (noise - 0.5))
            else:
                parameter.copy_(0.3 + noise if "temperature" in name else parameter + 0.5 * noise + 0.1)


def _adapt(kind: str, **options: object) -> PeftModel:
    model = get_peft_model(_network(kind), adapters.MoPPAConfig(**options)).eval()
    _randomise(model)
    return model


@pytest.fixture
def network() -> Callable[[str], nn.Module]:
    return _network


@pytest.fixture
def images() -> Callable[..., torch.Tensor]:
    return _images


@pytest.fixture
def randomise() -> Callable[[nn.Module], None]:
    return _randomise


@pytest.fixture
def adapt() -> Callable[..., PeftModel]:
    return _adapt
