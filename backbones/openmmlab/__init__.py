"""The backbones in OpenMMLab: importing this package registers them, once, in mmengine's root registry.

In a config::

    custom_imports = dict(imports=["backbones.openmmlab"])
    model = dict(backbone=dict(type="VHeat", arch="tiny", img_size=512, out_indices=(0, 1, 2, 3)))

mmdet and mmseg look names up in the root registry too, so one registration serves both.
"""

from backbones.openmmlab.layer_decay import LayerDecayConstructor
from backbones.openmmlab.networks import CLASSES, DenseSpectralNet
from backbones.openmmlab.runner import SafeCheckpointHook, SafeRunner
from backbones.openmmlab.timm_networks import TimmBackbone

globals().update(CLASSES)  # VHeat and its relatives

__all__ = ["DenseSpectralNet", "LayerDecayConstructor", "SafeCheckpointHook", "SafeRunner", "TimmBackbone"]
