"""RS-vHeat's pre-training in mmengine, on a folder with images of several sensors. In a config::

modalities = [dict(name="optical", ...), dict(name="sar", ...)]
model = dict(
    type="FrequencyPretraining",
    backbone=dict(type="RSVHeat", arch="base", modalities=modalities, out_indices=(2, 3)),
    hiding=dict(type="FrequencyHiding", hide="bands"),
)
custom_hooks = [dict(type="PretrainingHook"), dict(type="ReconstructionHook")]
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseModel, ImgDataPreprocessor
from mmengine.registry import DATASETS, MODELS, TASK_UTILS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from backbones import pretraining
from backbones.openmmlab.pretraining import Modes, built

__all__ = ["FrequencyPretraining", "PairFolder"]

TASK_UTILS.register_module()(pretraining.FrequencyHiding)


@MODELS.register_module()
class FrequencyPretraining(Modes, pretraining.FrequencyPretraining, BaseModel):
    """:class:`backbones.pretraining.FrequencyPretraining` as a model of mmengine.

    Args:
        backbone, hiding: Dicts of a config, or the objects; ``dict(type="FrequencyHiding", hide="sectors")``.
        data_preprocessor: By default one that only stacks images: they stay in the units of their modalities.
        init_cfg: Of mmengine's modules.
        options: The other arguments of :class:`backbones.pretraining.FrequencyPretraining`.

    In mode ``"loss"`` it returns the weighted losses ``loss_contrast``, ``loss_spatial`` and ``loss_spectral``, and
    ``retrieval`` and ``spread`` for the log; ``"tensor"`` gives the last two maps of whole images, fused over
    modalities; ``"predict"`` the samples, each with the figures of its batch as ``losses``. There the same frequencies
    are hidden in each validation, and ``retrieval`` and ``spread`` are those of whole images.
    """

    def __init__(
        self,
        backbone: nn.Module | Mapping[str, Any],
        hiding: pretraining.FrequencyHiding | Mapping[str, Any] | None = None,
        *,
        data_preprocessor: nn.Module | Mapping[str, Any] | None = None,
        init_cfg: Any = None,
        **options: Any,
    ) -> None:
        preprocessor = {"type": ImgDataPreprocessor} if data_preprocessor is None else data_preprocessor
        super().__init__(built(backbone), built(hiding, TASK_UTILS), data_preprocessor=built(preprocessor), **options)
        self.init_cfg = copy.deepcopy(init_cfg)

    def _measured(self, inputs: Tensor, mode: str) -> dict[str, Tensor]:
        return dict(self.measures) if mode == "loss" else self.measured_whole(inputs)


@DATASETS.register_module()
class PairFolder(pretraining.PairFolder):
    """:class:`backbones.pretraining.PairFolder` as a data set of mmengine: ``dict(inputs=, data_samples=)``.

    A sample knows its ``place``.
    """

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        image = super().__getitem__(index)
        return {"inputs": image, "data_samples": BaseDataElement(metainfo={"place": self.places[index]})}
