"""HiViT and Fast-iTPN in timm, by their published sizes."""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model

from backbones.hivit import HIVIT_ARCHS, HiViT
from backbones.weights.cards import pretrained_cfg
from backbones.weights.pretrained import build

__all__ = ["HIVIT_MODELS"]

_SOURCES = {"hivit": "arXiv:2211.12735", "fastitpn": "Fast-iTPN, TPAMI 2024"}

#: timm names of all models here.
HIVIT_MODELS = tuple(f"{arch}_patch16_224" for arch in HIVIT_ARCHS)

default_cfgs = generate_default_cfgs(
    {
        name: pretrained_cfg(
            name, _SOURCES[name.partition("_")[0]], first_conv="stem.conv", pool_size=(14, 14), crop_pct=0.9
        )
        for name in HIVIT_MODELS
    }
)


def _build(name: str, pretrained: bool, options: dict[str, Any]) -> HiViT:
    arch = HIVIT_ARCHS[name.removesuffix("_patch16_224")]
    published = {"relative_bias": arch.get("form") != "fast"}
    shape = {"levels": 3, "stages_give": "units (B, units, side, side, C)"}
    return build(name, HiViT, pretrained, **shape, **{**arch, **published, **options})


@register_model
def hivit_base_patch16_224(pretrained: bool = False, **kwargs: Any) -> HiViT:
    """HiViT-B, the backbone of iTPN-B: 512 wide, 3 + 3 + 24 blocks."""
    return _build("hivit_base_patch16_224", pretrained, kwargs)


@register_model
def hivit_large_patch16_224(pretrained: bool = False, **kwargs: Any) -> HiViT:
    """HiViT-L, the backbone of iTPN-L: 768 wide, 2 + 2 + 40 blocks."""
    return _build("hivit_large_patch16_224", pretrained, kwargs)


@register_model
def fastitpn_tiny_patch16_224(pretrained: bool = False, **kwargs: Any) -> HiViT:
    """Fast-iTPN-T for fine-tuning: 384 wide, 1 + 1 + 12 blocks."""
    return _build("fastitpn_tiny_patch16_224", pretrained, kwargs)


@register_model
def fastitpn_small_patch16_224(pretrained: bool = False, **kwargs: Any) -> HiViT:
    """Fast-iTPN-S for fine-tuning: 384 wide, 2 + 2 + 20 blocks."""
    return _build("fastitpn_small_patch16_224", pretrained, kwargs)


@register_model
def fastitpn_base_patch16_224(pretrained: bool = False, **kwargs: Any) -> HiViT:
    """Fast-iTPN-B for fine-tuning: 512 wide, 3 + 3 + 24 blocks."""
    return _build("fastitpn_base_patch16_224", pretrained, kwargs)


@register_model
def fastitpn_large_patch16_224(pretrained: bool = False, **kwargs: Any) -> HiViT:
    """Fast-iTPN-L for fine-tuning: 768 wide, 2 + 2 + 40 blocks."""
    return _build("fastitpn_large_patch16_224", pretrained, kwargs)
