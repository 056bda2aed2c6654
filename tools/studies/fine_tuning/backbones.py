"""The two small backbones, with a new head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import timm
from safetensors.torch import load_file
from scenes.tasks.task import SIZE
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import backbones  # noqa: F401 (registers vHeat with timm)

PATCH = 8


def _vit(classes: int) -> nn.Module:
    return VisionTransformer(
        img_size=SIZE, patch_size=PATCH, embed_dim=96, depth=4, num_heads=3, num_classes=classes,
        global_pool="avg", fc_norm=False,
    )  # fmt: skip


def _vheat(classes: int) -> nn.Module:
    return timm.create_model("vheat_nano", num_classes=classes, img_size=SIZE)


BACKBONES: dict[str, Callable[[int], nn.Module]] = {"vit": _vit, "vheat": _vheat}
#: The last layer, which every method trains.
HEADS = {"vit": "head", "vheat": "head.fc"}


def build(backbone: str, classes: int, checkpoint: Path | None = None) -> nn.Module:
    """A backbone with a new head, pre-trained where a checkpoint is given.

    The head standardises the features before its linear layer, as linear probes of masked autoencoders do: these
    networks' features differ little between images, and a bare layer learns too slowly from them at any usual rate.

    Raises:
        ValueError: The checkpoint lacks something other than the head, or has something else.
    """
    model = BACKBONES[backbone](classes)
    if classes:
        linear = model.get_submodule(HEADS[backbone])
        standardise = nn.BatchNorm1d(linear.in_features, affine=False, eps=1e-6)
        model.set_submodule(HEADS[backbone], nn.Sequential(standardise, linear))
    if checkpoint is not None:
        result = model.load_state_dict(load_file(checkpoint), strict=False)
        missing = [key for key in result.missing_keys if not key.startswith(HEADS[backbone])]
        if missing or result.unexpected_keys:
            raise ValueError(f"{checkpoint} is no {backbone}: missing {missing}, unexpected {result.unexpected_keys}")
    return model


def as_input(images: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) with mean and standard deviation 0.5."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1
