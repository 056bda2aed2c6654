"""The network that checks are made on, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

import backbones

__all__ = ["CLASSES", "OURS", "Check", "Subject", "close", "linears"]

CLASSES = 5
#: The models that speak for this project, the smallest of every family; HiViT's are made smaller still.
OURS = {family: f"{family}_nano" for family in backbones.FAMILIES}
OURS |= {"hivit": "hivit_base_patch16_224", "fastitpn": "fastitpn_tiny_patch16_224", "rs_vheat": "rs_vheat_nano"}
#: Modalities without a unit, for which any number is a pixel.
PLAIN = [
    {"name": name, "bands": bands, "unit": None, "mean": 0.0, "std": 1.0}
    for name, bands in (("optical", ["R", "G", "B"]), ("sar", ["VV"]))
]
#: What some of the models are made with.
OPTIONS: dict[str, dict[str, Any]] = {
    "hivit_base_patch16_224": {"embed_dim": 64, "depths": (1, 1, 2), "num_heads": 2},
    "fastitpn_tiny_patch16_224": {"embed_dim": 64, "depths": (1, 1, 2), "num_heads": 2},
    "rs_vheat_nano": {"modalities": PLAIN},
}


@dataclass(frozen=True)
class Subject:
    """A model of timm by name."""

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """What it is made with, beside its name."""
        return OPTIONS.get(self.name, {})

    @property
    def channels(self) -> int:
        """Of its images."""
        return sum(len(spec["bands"]) for spec in self.options.get("modalities", PLAIN[:1]))

    def net(self, **options: Any) -> nn.Module:
        """The network in evaluation mode, the same each time."""
        torch.manual_seed(0)
        size = {"img_size": 64} if "img_size" not in options and not self.name.startswith("convnext") else {}
        classes = {} if "features_only" in options else {"num_classes": CLASSES}
        return timm.create_model(self.name, **{**size, **classes, **self.options, **options}).eval()

    def images(self, *size: int, batch: int = 2) -> Tensor:
        return torch.randn(batch, self.channels, *(size or (64, 64)), generator=torch.Generator().manual_seed(1))


#: It raises what is wrong; the first line of its docstring is its row.
Check = Callable[[Subject], None]


def close(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Raise AssertionError unless tensors, or sequences of them, are the same to rounding."""
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def linears(net: nn.Module) -> dict[str, nn.Linear]:
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.Linear)}
