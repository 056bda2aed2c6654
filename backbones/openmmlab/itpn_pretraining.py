"""iTPN's pre-training in mmengine. In a config::

model = dict(type="ITPNPretraining", arch="base", img_size=224)
custom_hooks = [dict(type="PretrainingHook")]
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseModel
from mmengine.registry import MODELS, TASK_UTILS
from torch import nn

from backbones import pretraining
from backbones.openmmlab.pretraining import Modes, PretrainingDataPreprocessor, built, built_teacher

__all__ = ["ITPNFeaturePretraining", "ITPNPretraining"]


def _slots(mask: Any, data_preprocessor: Any) -> dict[str, Any]:
    """Mask and data preprocessor from what a config says of them."""
    preprocessor = {"type": PretrainingDataPreprocessor} if data_preprocessor is None else data_preprocessor
    return {"mask": built(mask, TASK_UTILS), "data_preprocessor": built(preprocessor)}


@MODELS.register_module()
class ITPNPretraining(Modes, pretraining.ITPNPretraining, BaseModel):
    """:class:`backbones.pretraining.ITPNPretraining` as a model of mmengine, with the modes of MaskedPretraining.

    Args:
        arch: As there.
        mask: A dict, ``dict(type="RandomUnits", ratio=0.75)`` for example, or as there.
        data_preprocessor: By default :class:`PretrainingDataPreprocessor`.
        init_cfg: Of mmengine's modules.
        options: The other arguments of :class:`backbones.pretraining.ITPNPretraining`.

    Its count of updates is part of the state dict.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "base",
        *,
        mask: pretraining.Mask | Mapping[str, Any] | None = None,
        data_preprocessor: nn.Module | Mapping[str, Any] | None = None,
        init_cfg: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(arch, **_slots(mask, data_preprocessor), **options)
        self.register_buffer("steps", self.steps)
        self.init_cfg = copy.deepcopy(init_cfg)

    def init_weights(self) -> None:
        """Load what ``init_cfg`` names."""
        BaseModel.init_weights(self)


@MODELS.register_module()
class ITPNFeaturePretraining(Modes, pretraining.ITPNFeaturePretraining, BaseModel):
    """:class:`backbones.pretraining.ITPNFeaturePretraining` as a model of mmengine, with MaskedPretraining's modes.

    Args:
        arch: As there.
        teacher: As there, or a network of the registry, ``dict(type="VHeat", arch="tiny", init_cfg=...)``.
        mask: A dict, ``dict(type="BlockUnits", ratio=0.4)`` for example, or as there.
        data_preprocessor: By default :class:`PretrainingDataPreprocessor`.
        init_cfg: Of mmengine's modules.
        options: The other arguments of :class:`backbones.pretraining.ITPNFeaturePretraining`.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "base",
        *,
        teacher: nn.Module | str | Mapping[str, Any] | None = None,
        mask: pretraining.Mask | Mapping[str, Any] | None = None,
        data_preprocessor: nn.Module | Mapping[str, Any] | None = None,
        init_cfg: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(arch, teacher=built_teacher(teacher), **_slots(mask, data_preprocessor), **options)
        self.init_cfg = copy.deepcopy(init_cfg)

    def init_weights(self) -> None:
        """Load what ``init_cfg`` names."""
        BaseModel.init_weights(self)
