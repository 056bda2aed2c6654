"""The sizes that were published, as arguments of :class:`~backbones.hivit.HiViT`."""

from __future__ import annotations

from typing import Any

__all__ = ["HIVIT_ARCHS"]

#: By the first part of their timm names. Of Fast-iTPN the networks for fine-tuning were published.
HIVIT_ARCHS: dict[str, dict[str, Any]] = {
    "hivit_base": {"embed_dim": 512, "depths": (3, 3, 24), "num_heads": 8},
    "hivit_large": {"embed_dim": 768, "depths": (2, 2, 40), "num_heads": 12},
    "fastitpn_tiny": {"embed_dim": 384, "depths": (1, 1, 12), "num_heads": 6, "form": "fast"},
    "fastitpn_small": {"embed_dim": 384, "depths": (2, 2, 20), "num_heads": 6, "form": "fast"},
    "fastitpn_base": {"embed_dim": 512, "depths": (3, 3, 24), "num_heads": 8, "form": "fast"},
    "fastitpn_large": {"embed_dim": 768, "depths": (2, 2, 40), "num_heads": 12, "form": "fast"},
}
