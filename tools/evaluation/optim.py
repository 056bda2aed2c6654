"""The learning rate of a backbone in multiples of the config's, for configs of runs."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BackboneRateConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor; the learning rates of the backbone's parameters are ``paramwise_cfg.backbone_rate`` times
    what they would be. All rules for norms, biases and names hold as before, in the backbone, too."""

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any]) -> None:
        options = dict(paramwise_cfg)
        self.backbone_rate = float(options.pop("backbone_rate"))
        # mmengine asks only whether there are options at all; without any it would not make a group per weight.
        super().__init__(optim_wrapper_cfg, options or {"bypass_duplicate": False})

    def add_params(self, params: list[dict[str, Any]], module: nn.Module, prefix: str = "", **kwargs: Any) -> None:
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix:
            return  # one level of the recursion: the whole model comes last
        ours = {id(weight) for weight in module.backbone.parameters()}
        for group in params:
            if id(group["params"][0]) in ours:
                group["lr"] = group.get("lr", self.base_lr) * self.backbone_rate
