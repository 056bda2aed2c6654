"""Vision backbones built on :mod:`spectral_ops`. Importing this package registers them with timm."""

from backbones.archs import ARCHS
from backbones.blocks import SpectralBlock
from backbones.checkpoint import LoadReport, load_checkpoint, read_weights
from backbones.convert import Conversion, convert_checkpoint, to_official
from backbones.families import FAMILIES, Family, heat_operator
from backbones.identify import network_like
from backbones.model_cards import PUBLISHED, Published
from backbones.network import SpectralNet, stage_sizes
from backbones.packing import packed
from backbones.safe_load import read_checkpoint

__all__ = [
    "ARCHS",
    "FAMILIES",
    "PUBLISHED",
    "Conversion",
    "Family",
    "LoadReport",
    "Published",
    "SpectralBlock",
    "SpectralNet",
    "convert_checkpoint",
    "heat_operator",
    "load_checkpoint",
    "network_like",
    "packed",
    "read_checkpoint",
    "read_weights",
    "stage_sizes",
    "to_official",
]
