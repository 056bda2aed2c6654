"""The sizes that were published, as arguments of :class:`~backbones.hivit.HiViT`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["HIVIT_ARCHS", "resolve_arch"]

#: By the first part of their timm names. Of Fast-iTPN the networks for fine-tuning were published.
HIVIT_ARCHS: dict[str, dict[str, Any]] = {
    "hivit_base": {"embed_dim": 512, "depths": (3, 3, 24), "num_heads": 8},
    "hivit_large": {"embed_dim": 768, "depths": (2, 2, 40), "num_heads": 12},
    "fastitpn_tiny": {"embed_dim": 384, "depths": (1, 1, 12), "num_heads": 6, "form": "fast"},
    "fastitpn_small": {"embed_dim": 384, "depths": (2, 2, 20), "num_heads": 6, "form": "fast"},
    "fastitpn_base": {"embed_dim": 512, "depths": (3, 3, 24), "num_heads": 8, "form": "fast"},
    "fastitpn_large": {"embed_dim": 768, "depths": (2, 2, 40), "num_heads": 12, "form": "fast"},
}

_SHAPE = {"embed_dim", "depths", "num_heads"}


def resolve_arch(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a network, from a short name or a dict.

    Args:
        arch: ``"base"`` or ``"large"``, ``"fast_tiny"``, ``"fast_small"``, ``"fast_base"`` or ``"fast_large"``, or a
            dict with ``embed_dim``, ``depths``, ``num_heads`` and optionally ``form``.

    Raises:
        ValueError: It is neither.

    Example:
        >>> resolve_arch("base")
        {'embed_dim': 512, 'depths': (3, 3, 24), 'num_heads': 8}
    """
    if isinstance(arch, str):
        known = {name.replace("hivit_", "").replace("fastitpn_", "fast_"): spec for name, spec in HIVIT_ARCHS.items()}
        if arch not in known:
            raise ValueError(f"arch must be one of {sorted(known)} or a dict, got {arch!r}")
        return dict(known[arch])
    if not isinstance(arch, Mapping) or not _SHAPE <= set(arch) <= {*_SHAPE, "form"}:
        given = sorted(arch) if isinstance(arch, Mapping) else repr(arch)
        raise ValueError(f"arch as a dict needs {', '.join(sorted(_SHAPE))} and accepts form beside them, got {given}")
    return dict(arch)
