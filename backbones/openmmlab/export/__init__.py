"""Detectors, segmentors and backbones of OpenMMLab as ONNX files and programs of ``torch.export``.

Height and width are dynamic, and normalisation and padding are inside; what is written is compared with the framework's
own predictions first. ``tools/export.py`` is the command::

    from backbones.openmmlab.export import describe, export

    export(model, Path("model.onnx"), metadata=describe(model, config.test_pipeline, classes, palette))
"""

from backbones.openmmlab.export.comparing import paste
from backbones.openmmlab.export.metadata import describe
from backbones.openmmlab.export.models import exportable
from backbones.openmmlab.export.programs import Exported, export, read_torch

__all__ = ["Exported", "describe", "export", "exportable", "paste", "read_torch"]
