"""iTPN's pre-training in mmengine. In a config::

model = dict(type="ITPNPretraining", arch="base", img_size=224)
custom_hooks = [dict(type="PretrainingHook")]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import MODELS, TASK_UTILS
from torch import nn

from backbones import pretraining
from backbones.openmmlab.dense import checked_init_cfg
from backbones.openmmlab.pretraining import Modes, PretrainingDataPreprocessor, built, built_teacher
from backbones.weights.loading import load_checkpoint

__all__ = ["ITPNFeaturePretraining", "ITPNPretraining"]


def _slots(mask: Any, data_preprocessor: Any) -> dict[str, Any]:
    """Mask and data preprocessor from what a config says of them."""
    preprocessor = {"type": PretrainingDataPreprocessor} if data_preprocessor is None else data_preprocessor
    return {"mask": built(mask, TASK_UTILS), "data_preprocessor": built(preprocessor)}


class _Initialised(Modes):
    """Mixin: ``init_cfg`` names a file that is read as this project reads files, official ones, too."""

    #: What a file need not have.
    only_here: tuple[str, ...] = ()

    def init_weights(self) -> None:
        """Load ``init_cfg``'s checkpoint; called by mmengine once the model is built."""
        if self.init_cfg is None:
            return
        options = {name: value for name, value in self.init_cfg.items() if name in ("resize", "prefix")}
        leave_out = [*self.only_here, *self.init_cfg.get("leave_out", ())]
        report = load_checkpoint(self, self.init_cfg["checkpoint"], leave_out=leave_out, **options)
        MMLogger.get_current_instance().info(f"{type(self).__name__}: loaded {self.init_cfg['checkpoint']}; {report}")


@MODELS.register_module()
class ITPNPretraining(_Initialised, pretraining.ITPNPretraining, BaseModel):
    """:class:`backbones.pretraining.ITPNPretraining` as a model of mmengine, with the modes of MaskedPretraining.

    Args:
        arch: As there.
        mask: A dict, ``dict(type="RandomUnits", ratio=0.75)`` for example, or as there.
        data_preprocessor: By default :class:`PretrainingDataPreprocessor`.
        init_cfg: ``dict(type="Pretrained", checkpoint=PATH)`` loads an official file of pixel pre-training or an own
            checkpoint of it, with the options of :class:`ITPN`'s ``init_cfg``. A published file has no decoder:
            ``leave_out=["decoder.*"]`` starts that anew.
        options: The other arguments of :class:`backbones.pretraining.ITPNPretraining`.

    Its count of updates is part of the state dict.
    """

    only_here = ("steps",)

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
        self.init_cfg = checked_init_cfg(init_cfg)


@MODELS.register_module()
class ITPNFeaturePretraining(_Initialised, pretraining.ITPNFeaturePretraining, BaseModel):
    """:class:`backbones.pretraining.ITPNFeaturePretraining` as a model of mmengine, with MaskedPretraining's modes.

    Args:
        arch: As there.
        teacher: As there, or a network of the registry, ``dict(type="VHeat", arch="tiny", init_cfg=...)``.
        mask: A dict, ``dict(type="BlockUnits", ratio=0.4)`` for example, or as there.
        data_preprocessor: By default :class:`PretrainingDataPreprocessor`.
        init_cfg: ``dict(type="Pretrained", checkpoint=PATH)`` loads backbone and pyramid of a file, with the options of
            :class:`ITPN`'s ``init_cfg``.
        options: The other arguments of :class:`backbones.pretraining.ITPNFeaturePretraining`.
    """

    only_here = ("steps", "decoder.*", "features.*", "*_token*")

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
        self.init_cfg = checked_init_cfg(init_cfg)
