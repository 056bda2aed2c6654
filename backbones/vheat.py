"""vHeat: the hierarchical network with the heat operator, its sizes and their timm entry points."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from backbones.network import SpectralNet
from spectral_ops import FromEmbedding, Heat

__all__ = ["ARCHS", "heat_operator", "vheat_base", "vheat_nano", "vheat_small", "vheat_tiny"]

#: The sizes. Tiny is pre-norm; small and base are post-norm with layer scale, as published. Nano is this project's own,
#: for tests and training on a laptop.
ARCHS: dict[str, dict[str, Any]] = {
    "nano": {"dims": (32, 64, 128, 256), "depths": (1, 1, 3, 1), "init_std": None},
    "tiny": {"dims": (96, 192, 384, 768), "depths": (2, 2, 6, 2)},
    "small": {
        "dims": (96, 192, 384, 768),
        "depths": (2, 2, 18, 2),
        "norm_placement": "post",
        "layer_scale": 1e-5,
    },
    "base": {
        "dims": (128, 256, 512, 1024),
        "depths": (2, 2, 18, 2),
        "norm_placement": "post",
        "layer_scale": 1e-5,
    },
}


def heat_operator(channels: int) -> Heat:
    """vHeat's operator: heat for unit time, its diffusivity predicted per mode and channel from the embedding."""
    return Heat(diffusivity=FromEmbedding(channels), dims=(1, 2))


def _cfg() -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "fixed_input_size": False,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": "stem.conv1",
        "classifier": "head.fc",
        "paper_ids": "arXiv:2405.16555",
    }


default_cfgs = generate_default_cfgs({f"vheat_{name}": _cfg() for name in ARCHS})


def _create(arch: str, pretrained: bool, **kwargs: Any) -> SpectralNet:
    return build_model_with_cfg(
        SpectralNet,
        f"vheat_{arch}",
        pretrained,
        feature_cfg={"out_indices": (0, 1, 2, 3), "feature_cls": "getter"},
        **{"operator": heat_operator, **ARCHS[arch], **kwargs},
    )


@register_model
def vheat_nano(pretrained: bool = False, **kwargs: Any) -> SpectralNet:
    """vHeat nano: this project's smallest size."""
    return _create("nano", pretrained, **kwargs)


@register_model
def vheat_tiny(pretrained: bool = False, **kwargs: Any) -> SpectralNet:
    """vHeat-T (arXiv 2405.16555)."""
    return _create("tiny", pretrained, **kwargs)


@register_model
def vheat_small(pretrained: bool = False, **kwargs: Any) -> SpectralNet:
    """vHeat-S (arXiv 2405.16555)."""
    return _create("small", pretrained, **kwargs)


@register_model
def vheat_base(pretrained: bool = False, **kwargs: Any) -> SpectralNet:
    """vHeat-B (arXiv 2405.16555)."""
    return _create("base", pretrained, **kwargs)
