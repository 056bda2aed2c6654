"""Adapters in OpenMMLab: importing this module registers them, once, in mmengine's root registry.

In a config::

    custom_imports = dict(imports=["backbones.openmmlab", "adapters.openmmlab"])
    model = dict(
        backbone=dict(
            _delete_=True,
            type="AdaptedBackbone",
            backbone=dict(type="VHeat", arch="tiny", img_size=800, init_cfg=dict(type="Pretrained", checkpoint=PATH)),
            adapter=dict(type="MoPPA", route_weight=0.01),
        )
    )
    custom_hooks = [dict(type="RouteRegularizationHook")]
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner
from peft import PromptLearningConfig, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import PeftType
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from adapters.routing import RouteSchedule, route_regularization
from spectral_ops.torch_internals import PLAIN

__all__ = ["AdaptedBackbone", "RouteRegularizationHook"]


@MODELS.register_module()
class AdaptedBackbone(nn.Module):
    """A frozen backbone with a PEFT adapter.

    Only the adapter trains: the rest gets no gradients and no optimiser state, and batch norms keep their statistics.
    Checkpoints hold the adapter (beside neck and heads), not the frozen weights, which come from the backbone's own
    ``init_cfg``; a checksum of them is kept, and a checkpoint that was trained on others is refused. What of them is
    made trainable later, or is not any more what it was at first, is in checkpoints, too.

    Args:
        backbone: Config of any registered backbone. It is built and initialised at once, because adapters go into
            trained weights.
        adapter: ``dict(type="MoPPA", ...)`` with the arguments of :class:`adapters.MoPPAConfig`, or another method of
            PEFT that adapts modules by its name, as in ``dict(type="LoRA", r=8, target_modules=["qkv"])``; None just
            freezes.
        save_frozen: Whether checkpoints hold the frozen weights too.

    Raises:
        ValueError: The adapter's type is unknown or does not fit, the backbone freezes stages itself, or a checkpoint
            was trained on other frozen weights.

    Example:
        >>> import backbones.openmmlab
        >>> backbone = dict(type="VHeat", arch="nano", img_size=64)
        >>> net = MODELS.build(dict(type="AdaptedBackbone", backbone=backbone, adapter=dict(type="MoPPA")))
        >>> [tuple(f.shape) for f in net(torch.randn(1, 3, 64, 64))]
        [(1, 32, 16, 16), (1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
        >>> sum(p.numel() for p in net.parameters() if p.requires_grad)
        760
    """

    def __init__(
        self, backbone: dict[str, Any], adapter: dict[str, Any] | None = None, *, save_frozen: bool = False
    ) -> None:
        super().__init__()
        net = MODELS.build(backbone)
        if getattr(net, "frozen_stages", -1) >= 0:
            raise ValueError("AdaptedBackbone freezes the whole backbone: leave its frozen_stages at -1")
        if hasattr(net, "init_weights"):
            net.init_weights()
        net.requires_grad_(False)
        if adapter is not None:
            options = dict(adapter)
            net = get_peft_model(net, _config_class(options.pop("type", None))(**options))
        self.net = net
        self.save_frozen = save_frozen
        trained = {name for name, p in net.named_parameters(remove_duplicate=False) if p.requires_grad}
        self._frozen = tuple(name for name in net.state_dict() if name not in trained)  # for good, also in copies
        self._began = self._checksums()
        self._register_state_dict_hook(_drop_frozen)
        self.register_load_state_dict_post_hook(_note_weights)

    def init_weights(self) -> None:
        """Nothing: the backbone was initialised before it was adapted."""

    def frozen(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values of the parameters and buffers that do not train.

        Raises:
            ValueError: Some are not there: gains stand in their place.
        """
        state = self.net.state_dict()
        if lost := [name for name in self._frozen if name not in state]:
            raise ValueError(
                f"checkpoints are of the backbone as it was adapted, and it has no {lost[0]!r} now: take stored gains "
                "back, unreparameterize(), before one is made or loaded"
            )
        for name in self._frozen:
            yield f"net.{name}", state[name]

    def _checksums(self) -> dict[str, int]:
        """CRC-32 of each frozen tensor, and under ``""`` of all; nothing where they are elsewhere (meta, sharded)."""
        found, value = {}, 0
        for name, tensor in self.frozen():
            if tensor.is_meta or type(tensor) not in PLAIN:
                return {}
            content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            found[name], value = zlib.crc32(content), zlib.crc32(content, value)
        return {"": value, **found}

    def checksum(self) -> Tensor:
        """CRC-32 of the frozen weights as they were loaded, for telling one file's from another's."""
        _note_weights(self)
        return torch.tensor(self._began[""])

    @property
    def frozen_checksum(self) -> Tensor:
        """The checksum by its name in checkpoints, where torch.distributed.checkpoint looks for it."""
        return self.checksum()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        saved = state_dict.pop(f"{prefix}frozen_checksum", None)
        frozen = dict(self.frozen())
        missing = [name for name in frozen if f"{prefix}{name}" not in state_dict]
        if not missing:
            self._began = {}  # other weights come
        if saved is not None and missing:
            if int(saved) != int(self.checksum()):
                raise ValueError(
                    "this checkpoint's adapter was trained on other weights of the frozen backbone: give its init_cfg "
                    "the file that training started from"
                )
            for name in missing:
                state_dict[f"{prefix}{name}"] = frozen[name]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def train(self, mode: bool = True) -> AdaptedBackbone:
        """As in torch, but batch norms of the frozen part stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.net(x)  # type: ignore[no-any-return]


def _drop_frozen(module: AdaptedBackbone, state_dict: dict[str, Any], prefix: str, metadata: Any) -> None:
    if any(isinstance(value, nn.Parameter) for value in state_dict.values()):
        return  # keep_vars=True: an exporter looks for the network's own tensors, and needs all of them
    if any(isinstance(layer, BaseTunerLayer) and layer.merged for layer in module.net.modules()):
        raise ValueError("checkpoints hold the adapter beside the backbone: unmerge_adapter() before one is made")
    if module.save_frozen:
        return
    _note_weights(module)
    began, now = module._began, module._checksums()
    learning = {f"net.{name}" for name, p in module.net.named_parameters(remove_duplicate=False) if p.requires_grad}
    for name, _ in module.frozen():
        if name not in learning and (not now or began.get(name) == now[name]):
            state_dict.pop(f"{prefix}{name}", None)
    state_dict[f"{prefix}frozen_checksum"] = module.checksum()


def _note_weights(module: AdaptedBackbone, *_: Any) -> None:
    module._began = module._began or module._checksums()


def _config_class(kind: str | None) -> Any:
    methods = {
        str(method.value): config
        for method, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if not issubclass(config, PromptLearningConfig)  # a backbone takes images, no prompts
    }
    if not isinstance(kind, str) or kind.upper() not in methods:
        raise ValueError(f"adapter.type must be 'MoPPA' or another method of PEFT {sorted(methods)}, got {kind!r}")
    return methods[PeftType(kind.upper()).value]


@HOOKS.register_module()
class RouteRegularizationHook(Hook):
    """Adds MoPPA's route regularisation to the losses, as ``loss_route``, and moves its schedule on.

    Raises:
        ValueError: The model has no MoPPA adapter.
    """

    def before_train(self, runner: Runner) -> None:
        """Let the model's losses include the regularisation."""
        model = _bare(runner.model)
        self.schedule = RouteSchedule(model, runner.max_iters)
        parse = getattr(model.parse_losses, "without_routes", model.parse_losses)  # once, also after a failed run

        def parse_losses(losses: dict[str, Any]) -> Any:
            return parse({**losses, "loss_route": route_regularization(model)})

        parse_losses.without_routes = parse  # type: ignore[attr-defined]
        model.parse_losses = parse_losses

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Tell how far training is."""
        self.schedule.step(runner.iter)

    def after_train(self, runner: Runner) -> None:
        """Take it out again."""
        model = _bare(runner.model)
        model.parse_losses = model.parse_losses.without_routes


def _bare(model: nn.Module) -> Any:
    return model.module if is_model_wrapper(model) else model
