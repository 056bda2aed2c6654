"""The sizes that every family comes in."""

from __future__ import annotations

from typing import Any

__all__ = ["ARCHS"]

#: The sizes. Tiny is pre-norm; small and base are post-norm with layer scale, as published for vHeat. Nano is this
#: project's own, for tests and training on a laptop.
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
