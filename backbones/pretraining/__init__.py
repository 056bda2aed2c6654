"""Pre-training of backbone and neck together, without labels: masks, targets, teachers, and a model of them.

Nothing here needs OpenMMLab; :mod:`backbones.openmmlab` registers it there.
"""

from backbones.pretraining.masks import BlockUnits, Mask, RandomUnits, hidden_pixels, kept_units, mask_from_keep
from backbones.pretraining.targets import Dct, Hog, Pixels, UnitTarget, images_from_units, units

__all__ = [
    "BlockUnits",
    "Dct",
    "Hog",
    "Mask",
    "Pixels",
    "RandomUnits",
    "UnitTarget",
    "hidden_pixels",
    "images_from_units",
    "kept_units",
    "mask_from_keep",
    "units",
]
