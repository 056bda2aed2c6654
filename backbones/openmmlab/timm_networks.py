"""Any hierarchical network of timm as a backbone of OpenMMLab, for comparisons and for adapters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import timm
from mmengine.registry import MODELS
from timm.models import load_state_dict
from torch import Tensor, nn

from backbones.openmmlab.safe_reading import NUMPY
from backbones.weights.containers import NamesOf
from backbones.weights.reading import harmless_globals, read_checkpoint

__all__ = ["TimmBackbone"]


def _created(model_name: str, options: dict[str, Any]) -> nn.Module:
    """timm's network; of a file of weights, what a trainer put before their names is passed over, too.

    timm knows the prefixes of compiled and of parallel networks, and leaves out in silence what has another one.
    """
    overlay = options.get("pretrained_cfg_overlay") or {}
    with harmless_globals():
        if options.get("pretrained") and overlay.get("file"):
            overlay = {**overlay, "file": os.path.expanduser(overlay["file"])}
            options = {**options, "pretrained_cfg_overlay": overlay}
            if not os.path.isfile(overlay["file"]):  # of which timm raises an error without a word
                raise FileNotFoundError(f"no such checkpoint: {overlay['file']}")
            net = timm.create_model(model_name, **{**options, "pretrained": False})
            if state := _without_prefix(load_state_dict(overlay["file"]), net):
                options = {**options, "pretrained_cfg_overlay": {**overlay, "state_dict": state}}
        return timm.create_model(model_name, **options)


def _without_prefix(state: dict[str, Any], net: nn.Module) -> dict[str, Any]:
    """The tensors of a network whose names all have one prefix in a file, without it; nothing where they have none."""
    # Networks that give maps have names such as "stages_0" and "model.stages.0".
    ours = NamesOf(name.removeprefix("model.").replace("_", ".") for name in net.state_dict())
    flat = {name: name.replace("_", ".") for name in state}
    found = list(ours.prefixes(flat.values()))
    if len(found) != 1 or not found[0]:
        return {}
    return {name[len(found[0]) :]: state[name] for name in state if flat[name].startswith(found[0])}


@MODELS.register_module()
class TimmBackbone(nn.Module):
    """A timm model that returns the maps of several stages, contiguous and channels-first, as necks expect them.

    mmseg's ``TIMMBackbone`` hands timm's maps on as they are, some channels-last; mmcv's RoIAlign misreads those.

    Args:
        model_name: A model of timm with ``features_only``.
        out_indices: Which of its maps to return.
        options: Further arguments of ``timm.create_model``, such as ``dict(drop_path_rate=0.1, img_size=512)``. Weights
            too: ``dict(pretrained=True)``, with ``pretrained_cfg_overlay=dict(file=PATH)`` for a file, by whatever
            trainer. timm leaves out in silence what the maps do not need; what is missing keeps its start.
        init_cfg: ``dict(type="Pretrained", checkpoint=PATH)`` takes them from a detector or segmentor with this
            backbone.

    Attributes:
        channels: Of each map returned.

    Raises:
        FileNotFoundError: There is no such file of weights.
        RuntimeError: The model is unknown, has no maps to return, or a tensor of its weights has another shape.
        ValueError: ``init_cfg`` is another one.

    Example:
        >>> import torch
        >>> net = MODELS.build(dict(type="TimmBackbone", model_name="resnet10t", out_indices=(1, 2, 3, 4)))
        >>> [tuple(f.shape) for f in net(torch.randn(1, 3, 64, 64))], net.channels
        ([(1, 64, 16, 16), (1, 128, 8, 8), (1, 256, 4, 4), (1, 512, 2, 2)], [64, 128, 256, 512])
    """

    def __init__(
        self,
        model_name: str,
        *,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        options: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if init_cfg is not None and not (
            init_cfg.get("type") == "Pretrained" and set(init_cfg) == {"type", "checkpoint"}
        ):
            raise ValueError(f"init_cfg must be dict(type='Pretrained', checkpoint=PATH) or None, got {init_cfg!r}")
        self.init_cfg = init_cfg
        self.net = _created(model_name, {"features_only": True, "out_indices": tuple(out_indices), **(options or {})})
        self.channels: list[int] = self.net.feature_info.channels()

    @property
    def feature_info(self) -> Any:
        """What timm knows of the maps, with its methods ``channels()``, ``reduction()`` and ``get_dicts()``."""
        return self.net.feature_info

    def init_weights(self) -> None:
        """Load ``init_cfg``'s checkpoint; called by OpenMMLab once the model is built."""
        if self.init_cfg is None:
            return
        content = read_checkpoint(self.init_cfg["checkpoint"], allow=NUMPY)
        state = content.get("state_dict", content)
        self.load_state_dict({n.removeprefix("backbone."): t for n, t in state.items() if n.startswith("backbone.")})

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = self.net(x)
        last = str(getattr(self.net, "output_fmt", "NCHW")).rpartition(".")[2] == "NHWC"
        return tuple((m.permute(0, 3, 1, 2) if last else m).contiguous() for m in maps)
