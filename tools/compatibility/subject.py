"""The network that checks are made on, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

import backbones  # noqa: F401 - registers the models

__all__ = ["CLASSES", "Check", "Subject", "close", "linears"]

CLASSES = 5


@dataclass(frozen=True)
class Subject:
    """A model of timm by name."""

    name: str

    def net(self, **options: Any) -> nn.Module:
        """The network in evaluation mode, the same each time."""
        torch.manual_seed(0)
        size = {"img_size": 64} if "img_size" not in options and not self.name.startswith("convnext") else {}
        classes = {} if "features_only" in options else {"num_classes": CLASSES}
        return timm.create_model(self.name, **{**size, **classes, **options}).eval()

    def images(self, *size: int, batch: int = 2) -> Tensor:
        return torch.randn(batch, 3, *(size or (64, 64)), generator=torch.Generator().manual_seed(1))


#: It raises what is wrong; the first line of its docstring is its row.
Check = Callable[[Subject], None]


def close(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Raise AssertionError unless tensors, or sequences of them, are the same to rounding."""
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def linears(net: nn.Module) -> dict[str, nn.Linear]:
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.Linear)}
