"""The backbones in OpenMMLab: importing this package registers them, once, in mmengine's root registry.

In a config::

    custom_imports = dict(imports=["backbones.openmmlab"])
    model = dict(backbone=dict(type="VHeat", arch="tiny", img_size=512, out_indices=(0, 1, 2, 3)))

mmdet and mmseg look names up in the root registry too, so one registration serves both.
"""

from backbones.openmmlab import networks
from backbones.openmmlab.checkpoints import SafeCheckpointHook
from backbones.openmmlab.corruptions import CORRUPTIONS, CommonCorruption
from backbones.openmmlab.frequency_pretraining import FrequencyPretraining, PairFolder
from backbones.openmmlab.hooks import FiniteGradientsHook, ProgressHook, StopHook
from backbones.openmmlab.itpn import ITPN, DenseHiViT
from backbones.openmmlab.itpn_pretraining import ITPNFeaturePretraining, ITPNPretraining
from backbones.openmmlab.label_metrics import ChangeMetric, GroupedIoU
from backbones.openmmlab.label_values import MapLabels
from backbones.openmmlab.layer_decay import LayerDecayConstructor
from backbones.openmmlab.modality_loading import LoadModalities, LoadPair
from backbones.openmmlab.networks import DenseSpectralNet
from backbones.openmmlab.precision import BFloat16OptimWrapper
from backbones.openmmlab.pretraining import (
    ImageFolder,
    MaskedPretraining,
    PretrainingDataPreprocessor,
    PretrainingHook,
    PretrainingLoss,
)
from backbones.openmmlab.pretraining_pictures import ReconstructionHook
from backbones.openmmlab.remote_sensing import RSVHeat
from backbones.openmmlab.runner import SafeRunner
from backbones.openmmlab.safe_reading import read_safely
from backbones.openmmlab.siamese import Siamese
from backbones.openmmlab.timm_networks import TimmBackbone

__all__ = [
    "CORRUPTIONS",
    "ITPN",
    "BFloat16OptimWrapper",
    "ChangeMetric",
    "CommonCorruption",
    "DenseHiViT",
    "DenseSpectralNet",
    "FiniteGradientsHook",
    "FrequencyPretraining",
    "GroupedIoU",
    "ITPNFeaturePretraining",
    "ITPNPretraining",
    "ImageFolder",
    "LayerDecayConstructor",
    "LoadModalities",
    "LoadPair",
    "MapLabels",
    "MaskedPretraining",
    "PairFolder",
    "PretrainingDataPreprocessor",
    "PretrainingHook",
    "PretrainingLoss",
    "ProgressHook",
    "RSVHeat",
    "ReconstructionHook",
    "SafeCheckpointHook",
    "SafeRunner",
    "Siamese",
    "StopHook",
    "TimmBackbone",
    "read_safely",
]


def __getattr__(name: str) -> type[DenseSpectralNet]:
    """VHeat and its relatives, and the families registered since."""
    return getattr(networks, name)
