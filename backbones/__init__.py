"""Vision backbones: those built on :mod:`spectral_ops`, and HiViT with iTPN's pyramid beside them. Importing this
package registers them with timm. :mod:`backbones.remote_sensing` has what is for several sensors."""

from backbones.archs import ARCHS
from backbones.blocks import SpectralBlock
from backbones.families import FAMILIES, Family, register
from backbones.hivit import HIVIT_ARCHS, ITPN, HiViT, Pyramid
from backbones.hivit_models import HIVIT_MODELS
from backbones.network import SpectralNet, stage_sizes
from backbones.operators import OPERATORS, heat_operator
from backbones.packing import packed
from backbones.place import Place, spectral_blocks
from backbones.remote_sensing_models import RS_VHEAT_MODELS
from backbones.weights.cards import PUBLISHED, Published
from backbones.weights.conversion import Conversion, convert_checkpoint, to_official
from backbones.weights.identification import network_like
from backbones.weights.loading import LoadReport, load_checkpoint, read_weights
from backbones.weights.reading import read_checkpoint

__all__ = [
    "ARCHS",
    "FAMILIES",
    "HIVIT_ARCHS",
    "HIVIT_MODELS",
    "ITPN",
    "OPERATORS",
    "PUBLISHED",
    "RS_VHEAT_MODELS",
    "Conversion",
    "Family",
    "HiViT",
    "LoadReport",
    "Place",
    "Published",
    "Pyramid",
    "SpectralBlock",
    "SpectralNet",
    "convert_checkpoint",
    "heat_operator",
    "load_checkpoint",
    "network_like",
    "packed",
    "read_checkpoint",
    "read_weights",
    "register",
    "spectral_blocks",
    "stage_sizes",
    "to_official",
]
