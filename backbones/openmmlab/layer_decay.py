"""Layer-wise learning-rate decay for fine-tuning a backbone in OpenMMLab."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from timm.models import group_parameters
from torch import nn

from spectral_ops.scalars import as_float

__all__ = ["LayerDecayConstructor"]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    r"""mmengine's constructor, with the backbone's learning rates falling towards its input.

    A weight of layer l of L (the stem is 0, every block and downsampling one more, by the backbone's timm
    ``group_matcher``) gets :math:`\text{lr} \cdot d^{\,L - l}`; neck and heads keep the full rate, and so does what a
    backbone names as ``full_rate``, by how its names begin: ITPN's pyramid. In a config::

        optim_wrapper = dict(constructor="LayerDecayConstructor", paramwise_cfg=dict(layer_decay=0.8))

    beside whatever else ``paramwise_cfg`` holds.

    Raises:
        ValueError: ``layer_decay`` is missing or not in (0, 1], or the model's backbone has no ``group_matcher``.
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        options = dict(paramwise_cfg or {})
        self.layer_decay = options.pop("layer_decay", None)
        if not 0 < (as_float(self.layer_decay) or 0) <= 1:
            raise ValueError(f"paramwise_cfg.layer_decay must be in (0, 1], got {self.layer_decay!r}")
        # mmengine asks only whether there are options at all; without any it would not make a group per weight.
        super().__init__(optim_wrapper_cfg, options or {"bypass_duplicate": False})

    def add_params(self, params: list[dict[str, Any]], module: nn.Module, prefix: str = "", **kwargs: Any) -> None:
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix:
            return  # one level of the recursion: the whole model comes last
        backbone = getattr(module, "backbone", None)
        if not hasattr(backbone, "group_matcher"):
            raise ValueError(
                f"layer_decay needs a model whose backbone has a group_matcher, got {type(backbone).__name__}"
            )
        layers = group_parameters(backbone, backbone.group_matcher(), reverse=True)
        full_rate = tuple(getattr(backbone, "full_rate", ()))
        layers = {name: layer for name, layer in layers.items() if not name.startswith(full_rate)}
        weights = dict(backbone.named_parameters())
        depth = max(layers.values()) + 1
        scales = {id(weights[name]): self.layer_decay ** (depth - layer) for name, layer in layers.items()}
        for group in params:
            (weight,) = group["params"]
            if weight.requires_grad and id(weight) in scales:
                group["lr"] = group.get("lr", self.base_lr) * scales[id(weight)]
