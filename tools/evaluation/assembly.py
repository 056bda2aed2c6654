"""From a task, an entry and a protocol to the config of one run, whole."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from checks.settings import class_heads
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn

import evaluation.optim  # noqa: F401 (registers)
from evaluation.config_files import read_config
from evaluation.entries import Entry
from evaluation.maps import Maps, fit_maps, linear_layers, probe
from evaluation.protocols import PROTOCOLS, apply_protocol
from evaluation.tasks import ReadyTask, innermost
from evaluation.weights import (
    check_whole,
    load_backbone,
    starts_trained,
    with_checkpoint,
    with_neck,
    without_checkpoint,
    without_files,
)

_IMPORTS = ("backbones.openmmlab", "adapters.openmmlab", "evaluation.optim")
#: What an entry's own config gives; data, schedule and measuring are the task's.
_OWN = ("model", "optim_wrapper", "custom_hooks", "custom_imports", "tta_model", "tta_pipeline")
#: Iterations of warm-up, or a quarter of all where that is less.
_WARM_UP = 50


class Contender:
    """An entry at a task: its maps are known, and it makes configs.

    Raises:
        ValueError: The entry does not fit the task, or its checkpoint does not fit it.
    """

    def __init__(self, ready: ReadyTask, entry: Entry) -> None:
        self.ready, self.entry = ready, entry
        self.where = f"entries.{entry.name}, task {ready.task.name}"
        try:
            self._prepare()
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from None

    def _prepare(self) -> None:
        scope, channels = self.ready.config.default_scope, self.ready.channels
        sizes = (self.ready.training_size, self.ready.input_size)
        self.base = copy.deepcopy(self.ready.config)
        if self.entry.config is not None:
            own = read_config(self.entry.config[self.ready.task.name], {})
            if own.get("default_scope") != scope:
                raise ValueError(f"its config is of {own.get('default_scope')}, the task of {scope}")
            for key in _OWN:
                if key in own:
                    self.base[key] = own[key]
            backbone = own.model.backbone.to_dict()
            if not self.entry.checkpoint and not starts_trained(backbone):
                for protocol in self.entry.protocols:
                    if PROTOCOLS[protocol].pretrained:
                        raise ValueError(
                            f"protocol {protocol!r} starts from trained weights, and its config's model.backbone "
                            "names none: give checkpoint"
                        )
        else:
            of_task = self.ready.config.model.backbone.to_dict()
            backbone = of_task if self.entry.backbone == "task" else copy.deepcopy(self.entry.backbone)
        for place, head in class_heads(self.base.model):
            if head["num_classes"] != len(self.ready.classes):
                raise ValueError(
                    f"{place}.num_classes is {head['num_classes']}, the data have {len(self.ready.classes)}"
                )
        self.backbone = without_checkpoint(backbone) if self.entry.checkpoint else backbone
        _, theirs = probe(without_checkpoint(self.ready.config.model.backbone.to_dict()), sizes, scope, channels)
        self.net, ours = probe(without_checkpoint(backbone), sizes, scope, channels)
        channels, strides = zip(*ours, strict=True)
        levels = strides if self.entry.config is not None else tuple(stride for _, stride in theirs)
        self.maps = Maps(channels, strides, levels, linear_layers(self.net))
        for protocol, rates in self.entry.rates.items():
            if PROTOCOLS[protocol].linear and len(rates) > 1 and self.ready.metric == "mask AP":
                raise ValueError(
                    f"protocol {protocol!r} predicts no masks, and its learning rate would be chosen by mask AP: give "
                    "it one rate, or the task another metric"
                )
            config = self.model(protocol, None)
            if protocol in self.entry.adapters:
                self._check_adapter(protocol, config)
            for rate in rates:
                _scale_rate(copy.deepcopy(config), rate, PROTOCOLS[protocol].of_backbone)

    def _check_adapter(self, protocol: str, config: Config) -> None:
        init_default_scope(config.default_scope)
        try:
            MODELS.build(config.model.backbone)
        except Exception as error:  # PEFT's of any kind
            options, reason = self.entry.adapters[protocol], " ".join(str(error).split())[:400]
            raise ValueError(f"adapters.{protocol}: {options} cannot be made: {reason}") from error

    def checkpoint(self, seed: int) -> Path | None:
        """The file whose weights a run with this seed starts from, if it starts from any.

        Raises:
            ValueError: It is not there.
        """
        if self.entry.checkpoint is None:
            return None
        path = Path(self.entry.checkpoint.format(task=self.ready.task.name, seed=seed))
        if not path.is_file():
            raise ValueError(f"{self.where}: no such checkpoint: {path}")
        return path

    def check_checkpoint(self, seed: int) -> None:
        """Load what runs with this seed start from.

        Raises:
            ValueError: It does not fit.
        """
        path = self.checkpoint(seed)
        if path is None:
            return
        try:
            if "given" in self.entry.protocols:
                check_whole(path, self.model("given", None), self.ready.classes)
            if starting := [p for p in self.entry.protocols if PROTOCOLS[p].pretrained and p != "given"]:
                if "backbone" in self.entry.loads:
                    load_backbone(self.backbone, path, self.ready.config.default_scope)
                self.model(starting[0], path)
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from None

    def model(self, protocol: str, checkpoint: Path | None) -> Config:
        """A config with the model that a protocol trains.

        Args:
            protocol: Its name.
            checkpoint: What it starts from; None leaves the backbone's own ``init_cfg``.
        """
        config = copy.deepcopy(self.base)
        imports = [*(config.get("custom_imports") or {}).get("imports", []), *_IMPORTS]
        config.custom_imports = {"imports": list(dict.fromkeys(imports)), "allow_failed_imports": False}
        if protocol == "given":
            return config
        pretrained = PROTOCOLS[protocol].pretrained
        backbone = self.backbone if pretrained else without_checkpoint(self.backbone)
        loads = self.entry.loads if checkpoint is not None and pretrained else ()
        if "backbone" in loads:
            backbone = with_checkpoint(self.backbone, checkpoint)
        config.model = ConfigDict({**without_files(config.model.to_dict()), "backbone": backbone})
        if self.entry.config is None and not PROTOCOLS[protocol].linear:
            fit_maps(config, self.maps)
        if "neck" in loads:
            init_default_scope(config.default_scope)
            config.model.neck = ConfigDict(with_neck(config.model.get("neck"), checkpoint))
        adapter = self.entry.adapters.get(protocol, {})
        apply_protocol(config, protocol, self.maps, adapter, len(self.ready.classes))
        return config

    def training(self, protocol: str, share: float, seed: int, rate: float) -> dict[str, Any]:
        """The config that trains."""
        config = self.model(protocol, self.checkpoint(seed))
        innermost(config.train_dataloader.dataset).update(self.ready.train_settings(share, seed))
        for phase in ("val", "test"):
            config.update({f"{phase}_{what}": None for what in ("dataloader", "evaluator", "cfg")})
        config.randomness = {**(config.get("randomness") or {}), "seed": seed}
        config.update(runner_type="SafeRunner", load_from=None, resume=False)
        _scale_rate(config, rate, PROTOCOLS[protocol].of_backbone)
        _schedule(config, self.ready.task.iterations)
        return _plain(config)

    def testing(self, model: dict[str, Any], split: str) -> dict[str, Any]:
        """The config that stores predictions of a trained one on the images that choose or are tested.

        Args:
            model: The config that has trained it, or of :meth:`model`.
            split: ``"choose"`` or ``"test"``.
        """
        loader, changed = self._loader(split)
        found = {key: value for key, value in model.items() if not key.startswith(("train_", "optim", "param_sch"))}
        config = Config(copy.deepcopy(found))
        for key in ("val_dataloader", "val_evaluator", "val_cfg"):
            config[key] = None
        config.test_dataloader = copy.deepcopy(self.ready.config[f"{loader}_dataloader"])
        data = innermost(config.test_dataloader.dataset)
        if "datasets" in data:
            config.test_dataloader.dataset = data = ConfigDict(copy.deepcopy(self.ready.settings(loader)))
        data.update(changed)
        config.test_cfg = {"type": "TestLoop"}
        config.update(runner_type="SafeRunner", custom_hooks=None, load_from=None, resume=False)
        return _plain(config)

    def truth(self, split: str) -> dict[str, Any]:
        """The settings of the data set that predictions of :meth:`testing` are compared with."""
        loader, changed = self._loader(split)
        return {**copy.deepcopy(dict(self.ready.settings(loader))), **changed}

    def _loader(self, split: str) -> tuple[str, dict[str, Any]]:
        """The loader that a split is like, and what changes in its data set."""
        return self.ready.choose_settings() if split == "choose" else (self.ready.task.test, {})


def parameters(model: nn.Module) -> tuple[int, int]:
    """How many numbers train, and how many there are."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trains in sizes if trains), sum(n for n, _ in sizes)


def _scale_rate(config: Config, rate: float, of_backbone: bool) -> None:
    wrapper = config.optim_wrapper
    if "lr" not in (wrapper.get("optimizer") or {}):
        raise ValueError("optim_wrapper.optimizer.lr is missing: there is no learning rate to multiply")
    if not of_backbone:
        wrapper.optimizer.lr *= rate
    elif rate != 1:
        if wrapper.get("constructor", "DefaultOptimWrapperConstructor") != "DefaultOptimWrapperConstructor":
            raise ValueError(
                f"the learning rate of the backbone is {wrapper.constructor}'s: give this entry rates: [1]"
            )
        wrapper.constructor = "BackboneRateConstructor"
        wrapper.paramwise_cfg = {**(wrapper.get("paramwise_cfg") or {}), "backbone_rate": rate}


def _schedule(config: Config, iterations: int | None) -> None:
    hooks = config.setdefault("default_hooks", ConfigDict())
    if iterations is None:
        hooks.checkpoint = {**(hooks.get("checkpoint") or {"type": "CheckpointHook"}), "max_keep_ckpts": 1}
    else:
        warm_up = min(_WARM_UP, iterations // 4)
        config.train_cfg = {"type": "IterBasedTrainLoop", "max_iters": iterations, "val_interval": iterations}
        config.param_scheduler = [
            {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": warm_up},
            {"type": "CosineAnnealingLR", "eta_min": 1e-6, "by_epoch": False, "begin": 0, "end": iterations},
        ]
        if not warm_up:
            del config.param_scheduler[0]
        config.log_processor = {"by_epoch": False}
        config.train_dataloader.sampler = {"type": "InfiniteSampler", "shuffle": True}
        interval = max(1, iterations // 4)
        hooks.checkpoint = {"type": "CheckpointHook", "by_epoch": False, "interval": interval, "max_keep_ckpts": 1}
        hooks.logger = {
            "type": "LoggerHook",
            "interval": max(1, min(20, iterations // 10)),
            "log_metric_by_epoch": False,
        }
    hooks.checkpoint.pop("save_best", None)  # nothing is validated while it trains


def _plain(config: Config) -> dict[str, Any]:
    return {key: value for key, value in config.to_dict().items() if not key.startswith("_")}
