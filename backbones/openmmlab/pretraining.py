"""Masked pre-training in mmengine: the model in its modes, its data, and the hook that keeps its schedule.

In a config::

    model = dict(
        type="MaskedPretraining",
        backbone=dict(type="VHeat", arch="tiny", img_size=224),
        neck=dict(type="mmdet.FPN", in_channels=[96, 192, 384, 768], out_channels=256, num_outs=5),
        target_generator=dict(pixels=1.0, features=1.0),
        mask=dict(type="RandomUnits", unit=32, ratio=0.6),
        data_preprocessor=dict(type="PretrainingDataPreprocessor"),
    )
    custom_hooks = [dict(type="PretrainingHook")]
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, ImgDataPreprocessor, is_model_wrapper
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, TASK_UTILS, Registry
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from backbones import pretraining
from backbones.openmmlab.loops import at_update_boundary
from backbones.openmmlab.safe_reading import NUMPY
from backbones.pretraining.course import Course
from backbones.pretraining.published import publish
from backbones.pretraining.students import Fill
from backbones.weights.containers import NamesOf, find_weights
from backbones.weights.reading import read_checkpoint

__all__ = [
    "ImageFolder",
    "MaskedPretraining",
    "PretrainingDataPreprocessor",
    "PretrainingHook",
    "PretrainingLoss",
]

for _mask in (pretraining.RandomUnits, pretraining.BlockUnits):
    TASK_UTILS.register_module()(_mask)
for _part in (pretraining.PretrainingHead, pretraining.TargetGenerator):
    MODELS.register_module()(_part)


def built(given: Any, registry: Registry = MODELS) -> Any:
    """What a dict with a type describes; everything else as it is. ``"mmdet.FPN"`` is FPN of mmdet."""
    if not isinstance(given, Mapping) or "type" not in given:
        return given
    given = dict(given)
    if isinstance(given["type"], str) and "." in given["type"]:
        given["_scope_"], given["type"] = given["type"].split(".", 1)
    return registry.build(given)


def _targets(given: Any) -> Any:
    """The targets with the teachers that they describe by a type of the registry."""
    if isinstance(given, Mapping) and given.get("type") == "TargetGenerator":
        return pretraining.TargetGenerator(_targets(given["targets"]))
    if not isinstance(given, Sequence):
        return given
    found = []
    for each in map(dict, given):
        if "teacher" in each:
            each["teacher"] = built_teacher(each["teacher"])
        found.append(each)
    return found


def built_teacher(given: Any) -> Any:
    """The network that a dict with a type describes, with the weights of its ``init_cfg``; all else as it is."""
    teacher = built(given)
    if teacher is not given and hasattr(teacher, "init_cfg"):
        teacher.init_weights()
    return teacher


class Modes:
    """Mixin that gives a model of pre-training the modes of mmengine.

    In mode ``"loss"`` it returns the weighted losses, ``loss_pixels`` and so on; ``"tensor"`` gives the maps of whole
    images; ``"predict"`` the samples, each with the losses of its batch as ``losses``. A mask is taken from
    ``data_sample.mask`` (bool, ``(h, w)``, True where a unit is hidden) where the samples have one, else drawn; for
    ``"predict"``, of each batch the same ones.
    """

    def init_weights(self) -> None:
        """As in mmengine; but what a trainer put around a file's weights or before their names is passed over.

        Raises:
            ValueError: ``init_cfg``'s file has nothing of this model.
        """
        given = self.init_cfg
        cfg = given[0] if isinstance(given, (list, tuple)) and len(given) == 1 else given
        if not isinstance(cfg, Mapping) or cfg.get("type") != "Pretrained" or "prefix" in cfg:
            super().init_weights()
            return
        content, own = read_checkpoint(cfg["checkpoint"], allow=NUMPY), self.state_dict()
        state = content.get("state_dict", content)
        if own.keys().isdisjoint(state):
            state = find_weights(content, "raw", [NamesOf(own)])
        self.init_cfg = None
        super().init_weights()  # of the parts
        self.init_cfg = given
        load_state_dict(self, state, strict=False, logger=MMLogger.get_current_instance())

    def _prepared(self, images: Tensor) -> Tensor:
        inputs: Tensor = self.data_preprocessor({"inputs": images}, False)["inputs"]
        return inputs

    def forward(
        self, inputs: Tensor, data_samples: Sequence[BaseDataElement] | None = None, mode: str = "tensor"
    ) -> Any:
        """What mmengine asks of a model.

        Args:
            inputs: Normalised images ``(B, C, H, W)``.
            data_samples: One for each image, or None.
            mode: ``"loss"``, ``"tensor"`` or ``"predict"``.

        Raises:
            ValueError: Another mode, some samples have a mask and others none, or a mask does not fit.
        """
        if mode == "tensor":
            return tuple(self._whole_maps(inputs))
        if mode not in ("loss", "predict"):
            raise ValueError(f"mode must be 'loss', 'tensor' or 'predict', got {mode!r}")
        mask = _mask_of(data_samples)
        if mask is None and mode == "predict":  # the same ones in each validation, so that its figures can be compared
            mask = self.mask(len(inputs), inputs.shape[2:], generator=torch.Generator().manual_seed(0))
        units = self._hidden_units(inputs, None, mask)
        losses = {f"loss_{name}": loss for name, loss in self._losses(inputs, units).items()}
        losses |= self._measured(inputs, mode)
        if mode == "loss":
            return losses
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        samples = [BaseDataElement() for _ in inputs] if data_samples is None else list(data_samples)
        for sample in samples:
            sample.set_field(dict(values), "losses", dtype=dict)
        return samples

    def _measured(self, inputs: Tensor, mode: str) -> dict[str, Tensor]:
        """What else is logged of a batch, once its losses are computed."""
        return {}


def _mask_of(samples: Sequence[BaseDataElement] | None) -> Tensor | None:
    """The masks of samples together, None where they have none."""
    have = [sample for sample in samples or () if "mask" in sample]
    if not have:
        return None
    if len(have) < len(samples or ()):
        raise ValueError(f"{len(have)} of {len(samples or ())} data_samples have a mask: all must have one, or none")
    return torch.stack([torch.as_tensor(sample.mask) for sample in have])


@MODELS.register_module()
class MaskedPretraining(Modes, pretraining.MaskedPretraining, BaseModel):
    """:class:`backbones.pretraining.MaskedPretraining` as a model of mmengine.

    Args:
        backbone, neck, head, mask: Dicts of a config, or the modules. A neck of mmdet is
            ``dict(type="mmdet.FPN", ...)``; its batch norms are refused.
        target_generator: Names to weights, or a list, as :class:`~backbones.pretraining.TargetGenerator` takes them; a
            teacher may be ``dict(type="VHeat", arch="tiny", init_cfg=...)``.
        data_preprocessor: By default :class:`PretrainingDataPreprocessor`.
        fill, in_chans: As there.
        init_cfg: Of mmengine's modules.

    In mode ``"loss"`` it returns the weighted losses, ``loss_pixels`` and so on; ``"tensor"`` gives the neck's maps of
    whole images; ``"predict"`` the samples, each with the losses of its batch as ``losses``, and beside them as
    ``rank_stride_8`` and so on the :func:`~backbones.pretraining.effective_rank` of each of the neck's maps of whole
    images. A mask is taken from ``data_sample.mask`` (bool, ``(h, w)``, True where a unit is hidden) where the samples
    have one, else drawn.
    """

    def __init__(
        self,
        backbone: nn.Module | Mapping[str, Any],
        neck: nn.Module | Mapping[str, Any] | None = None,
        head: nn.Module | Mapping[str, Any] | None = None,
        target_generator: nn.Module | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        data_preprocessor: nn.Module | Mapping[str, Any] | None = None,
        mask: pretraining.Mask | Mapping[str, Any] | None = None,
        *,
        fill: Fill = "remask",
        in_chans: int = 3,
        init_cfg: Any = None,
    ) -> None:
        config = copy.deepcopy(dict(neck)) if isinstance(neck, Mapping) else None
        preprocessor = {"type": PretrainingDataPreprocessor} if data_preprocessor is None else data_preprocessor
        super().__init__(
            built(backbone),
            built(neck),
            built(head),
            _targets(target_generator),
            built(preprocessor),
            built(mask, TASK_UTILS),
            fill=fill,
            in_chans=in_chans,
        )
        self.neck_config = config
        self.init_cfg = copy.deepcopy(init_cfg)

    def _measured(self, inputs: Tensor, mode: str) -> dict[str, Tensor]:
        if mode == "loss":
            return {}
        maps, levels = self._whole_maps(inputs), self.head.outputs
        return {f"rank_stride_{level.stride}": pretraining.effective_rank(maps[level.index]) for level in levels}


@MODELS.register_module()
class PretrainingDataPreprocessor(ImgDataPreprocessor):
    """mmengine's, with ImageNet's statistics in RGB by default, and a way back for pictures.

    Args:
        mean, std: Of the channels, on the scale 0..255.
        kwargs: Those of mmengine's ``ImgDataPreprocessor``.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        **kwargs: Any,
    ) -> None:
        super().__init__(list(mean), list(std), **kwargs)

    def undo(self, images: Tensor) -> Tensor:
        """Normalised images on the scale 0..255."""
        return images * self.std + self.mean


@DATASETS.register_module()
class ImageFolder(pretraining.ImageFolder):
    """:class:`backbones.pretraining.ImageFolder` as a data set of mmengine: ``dict(inputs=, data_samples=)``.

    A sample knows its ``img_path``.
    """

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        image = super().__getitem__(index)
        return {"inputs": image, "data_samples": BaseDataElement(metainfo={"img_path": str(self.paths[index])})}


@METRICS.register_module()
class PretrainingLoss(BaseMetric):
    """What a pre-training makes of images that it does not train on: its losses, their sum ``loss``, and the rest."""

    default_prefix = "pretraining"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Note the losses of a batch."""
        self.results.extend(sample["losses"] for sample in data_samples)

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Their means over images."""
        names = dict.fromkeys(name for each in results for name in each)
        means = {}
        for name in names:  # of some, batches without pairs know nothing
            known = [each[name] for each in results if name in each]
            means[name] = sum(known) / len(known)
        return {**means, "loss": sum(value for name, value in means.items() if name.startswith("loss"))}


@HOOKS.register_module()
class PretrainingHook(Hook):
    """Tells a model how many updates it trains for and when one was made, and publishes its weights at the end.

    The count of updates is the runner's: with ``load_from`` a new schedule starts, with a resume the old one goes on.

    Args:
        publish: Name of the file in the work folder that backbone and neck are written to, see
            :func:`backbones.pretraining.publish`; None for none.
        source: What the model is trained on, in a few words, for the file's metadata.

    Raises:
        TypeError: The model has no schedule to follow.
    """

    priority = "NORMAL"  # before anything is saved

    def __init__(self, publish: str | None = "pretrained.safetensors", source: str = "") -> None:
        self.publish, self.source = publish, source

    def before_train(self, runner: Runner) -> None:
        """Say how many updates there will be."""
        model = unwrapped(runner.model)
        if not hasattr(model, "schedule") or not hasattr(model, "after_update"):
            raise TypeError(f"PretrainingHook needs a model with schedule and after_update, got {type(model).__name__}")
        counts = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
        model.schedule(-(-runner.train_loop.max_iters // counts))
        model.steps.fill_(-(-runner.iter // counts))  # load_from brings those of another training

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Let the teacher follow an update."""
        if at_update_boundary(runner):
            unwrapped(runner.model).after_update()

    def after_train(self, runner: Runner) -> None:
        """Publish backbone and neck."""
        model = unwrapped(runner.model)
        if self.publish and is_main_process() and isinstance(model, Course):
            path = Path(runner.work_dir) / self.publish
            publish(model, path, source=self.source)
            runner.logger.info(f"backbone and neck are published: {path}")


def unwrapped(model: nn.Module) -> Any:
    """The model itself where it is in a data-parallel wrapper."""
    return model.module if is_model_wrapper(model) else model
