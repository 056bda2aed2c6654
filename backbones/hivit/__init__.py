"""HiViT and Fast-iTPN, hierarchical transformers whose patches stay apart up to the last stage, and iTPN's pyramid.

``positions`` holds the tables that depend on where a patch is, ``layers`` what works inside one unit and the attention
between units, ``network`` the backbone in timm's contract, ``pyramid`` the feature pyramid that is pre-trained
with it, and ``itpn`` the two together.
"""

from backbones.hivit.archs import HIVIT_ARCHS
from backbones.hivit.itpn import ITPN
from backbones.hivit.network import HiViT
from backbones.hivit.pyramid import Pyramid

__all__ = ["HIVIT_ARCHS", "ITPN", "HiViT", "Pyramid"]
