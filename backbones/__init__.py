"""Vision backbones built on :mod:`spectral_ops`. Importing this package registers them with timm."""

from backbones.archs import ARCHS
from backbones.blocks import SpectralBlock
from backbones.weights.loading import LoadReport, load_checkpoint, read_weights
from backbones.weights.conversion import Conversion, convert_checkpoint, to_official
from backbones.families import DIFFUSIVITIES, FAMILIES, Family, heat_operator
from backbones.weights.identification import introduce, network_like
from backbones.weights.cards import PUBLISHED, Published
from backbones.network import SpectralNet, stage_sizes
from backbones.packing import packed
from backbones.weights.reading import read_checkpoint

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

introduce(FAMILIES, {"diffusivity": DIFFUSIVITIES})  # weights can't import families, which are built with their help
