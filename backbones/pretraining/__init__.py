"""Pre-training of backbone and neck together, without labels: masks, targets, teachers, and a model of them.

Nothing here needs OpenMMLab; :mod:`backbones.openmmlab` registers it there.
"""

from backbones.pretraining.frequency import FrequencyPretraining
from backbones.pretraining.frequency_heads import ImageHead, ViewFusion
from backbones.pretraining.frequency_losses import ContrastHead, scored_error, spectral_weight
from backbones.pretraining.generator import TargetGenerator
from backbones.pretraining.heads import PretrainingHead
from backbones.pretraining.hiding import FrequencyHiding, Views, random_sectors
from backbones.pretraining.images import ImageFolder
from backbones.pretraining.itpn import ITPNOutput, ITPNPretraining
from backbones.pretraining.itpn_features import ITPNFeaturePretraining
from backbones.pretraining.masks import BlockUnits, Mask, RandomUnits, hidden_pixels, kept_units, mask_from_keep
from backbones.pretraining.model import MaskedPretraining, Normalise
from backbones.pretraining.pairs import PairFolder
from backbones.pretraining.published import publish
from backbones.pretraining.ranks import effective_rank
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
    "ContrastHead",
    "Dct",
    "Features",
    "FrequencyHiding",
    "FrequencyPretraining",
    "FrozenTeacher",
    "Hog",
    "ITPNFeaturePretraining",
    "ITPNOutput",
    "ITPNPretraining",
    "ImageFolder",
    "ImageHead",
    "Level",
    "Mask",
    "MaskedPretraining",
    "MovingAverage",
    "Normalise",
    "PairFolder",
    "Pixels",
    "PretrainingHead",
    "RandomUnits",
    "TargetGenerator",
    "TeacherCollapse",
    "UnitTarget",
    "ViewFusion",
    "Views",
    "effective_rank",
    "hidden_pixels",
    "images_from_units",
    "kept_units",
    "mask_from_keep",
    "masked_maps",
    "momentum_at",
    "publish",
    "random_sectors",
    "scored_error",
    "spectral_weight",
    "units",
    "warm_up_at",
]
