"""Pre-training of backbone and neck together, without labels: masks, targets, teachers, and a model of them.

Nothing here needs OpenMMLab; :mod:`backbones.openmmlab` registers it there.
"""

from backbones.pretraining.generator import TargetGenerator
from backbones.pretraining.heads import PretrainingHead
from backbones.pretraining.images import ImageFolder
from backbones.pretraining.itpn import ITPNOutput, ITPNPretraining
from backbones.pretraining.itpn_features import ITPNFeaturePretraining
from backbones.pretraining.masks import BlockUnits, Mask, RandomUnits, hidden_pixels, kept_units, mask_from_keep
from backbones.pretraining.model import MaskedPretraining, Normalise
from backbones.pretraining.published import publish
from backbones.pretraining.students import Level, masked_maps
from backbones.pretraining.targets import Dct, Hog, Pixels, UnitTarget, images_from_units, units
from backbones.pretraining.teacher import (
    Features,
    FrozenTeacher,
    MovingAverage,
    TeacherCollapse,
    momentum_at,
    warm_up_at,
)

__all__ = [
    "BlockUnits",
    "Dct",
    "Features",
    "FrozenTeacher",
    "Hog",
    "ITPNFeaturePretraining",
    "ITPNOutput",
    "ITPNPretraining",
    "ImageFolder",
    "Level",
    "Mask",
    "MaskedPretraining",
    "MovingAverage",
    "Normalise",
    "Pixels",
    "PretrainingHead",
    "RandomUnits",
    "TargetGenerator",
    "TeacherCollapse",
    "UnitTarget",
    "hidden_pixels",
    "images_from_units",
    "kept_units",
    "mask_from_keep",
    "masked_maps",
    "momentum_at",
    "publish",
    "units",
    "warm_up_at",
]
