"""Vision backbones built on :mod:`spectral_ops`. Importing this package registers them with timm."""

from backbones.blocks import SpectralBlock
from backbones.network import SpectralNet, stage_sizes
from backbones.vheat import ARCHS, heat_operator, vheat_base, vheat_nano, vheat_small, vheat_tiny

__all__ = [
    "ARCHS",
    "SpectralBlock",
    "SpectralNet",
    "heat_operator",
    "stage_sizes",
    "vheat_base",
    "vheat_nano",
    "vheat_small",
    "vheat_tiny",
]
