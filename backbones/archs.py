"""The sizes that every family comes in."""

from __future__ import annotations

from typing import Any

__all__ = ["ARCHS", "resolve_arch"]

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


def resolve_arch(arch: str | dict[str, Any]) -> dict[str, Any]:
    """The arguments of a size given by name, or as a dict with ``dims`` and ``depths``.

    Raises:
        ValueError: There is no such size, or the dict lacks one of them or has others than a size has.
    """
    accepted = {"dims", "depths", "norm_placement", "layer_scale", "mlp_ratio", "init_std"}
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f"arch must be one of {sorted(ARCHS)} or a dict, got {arch!r}")
        return ARCHS[arch]
    if not {"dims", "depths"} <= set(arch) <= accepted:
        raise ValueError(f"arch as a dict needs dims and depths and accepts {sorted(accepted)}, got {sorted(arch)}")
    return dict(arch)
