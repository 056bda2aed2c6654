"""The protocols: what of a model trains, and what a protocol changes in the config of a task."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from evaluation.maps import Maps

#: A hook that MoPPA's route regularization needs.
_ROUTES = {"type": "RouteRegularizationHook"}


@dataclass(frozen=True)
class Protocol:
    """A way to train an entry.

    Attributes:
        title: For tables.
        pretrained: Whether it starts from the entry's weights.
        frozen: Whether the backbone's own weights stay.
        rates: Candidates for the learning rate, in multiples of the config's.
        of_backbone: Whether the rate is that of the backbone's parameters; neck and heads then keep the config's.
        adapter: Of a frozen backbone, by PEFT's name and options.
        linear: Whether neck and heads are replaced by the linear ones of :func:`linear_model`.
    """

    title: str
    pretrained: bool = True
    frozen: bool = False
    rates: tuple[float, ...] = (0.3, 1.0, 3.0)
    of_backbone: bool = False
    adapter: dict[str, Any] = field(default_factory=dict)
    linear: bool = False


PROTOCOLS: dict[str, Protocol] = {
    "scratch": Protocol("from scratch", pretrained=False),
    "scratch_split": Protocol("from scratch, rate of the backbone", pretrained=False, of_backbone=True),
    "linear": Protocol("frozen + linear", frozen=True, linear=True),
    "frozen": Protocol("frozen + full head", frozen=True),
    "lora": Protocol("LoRA", True, True, (1.0, 3.0, 10.0), True, {"type": "LoRA", "r": 8}),
    "moppa": Protocol(
        "MoPPA", True, True, (1.0, 3.0, 10.0), True, {"type": "MoPPA", "rescale": True, "route_weight": 0.01}
    ),
    "full": Protocol("full", rates=(0.1, 0.3, 1.0), of_backbone=True),
    "given": Protocol("as it is", rates=(1.0,)),
}


def apply_protocol(config: Config, name: str, maps: Maps, adapter: dict[str, Any], classes: int) -> None:
    """Change a config, whose backbone is the entry's already, to train by a protocol.

    Args:
        config: Of a detector or segmentor.
        name: The protocol's.
        maps: What the backbone returns.
        adapter: Of PEFT, for the protocols that have one; LoRA without ``target_modules`` goes into ``maps.linears``.
        classes: How many the data have.

    Raises:
        ValueError: The model does not fit the protocol.
    """
    protocol = PROTOCOLS[name]
    if protocol.linear:
        config.model = linear_model(config, maps, classes)
    if not protocol.frozen:
        return
    backbone = config.model.backbone
    if backbone.type == "AdaptedBackbone":
        raise ValueError(f"protocol {name!r} freezes a backbone, and this one is adapted already: leave it to 'full'")
    options = dict(adapter) or None
    if options and options.get("type") == "LoRA" and "target_modules" not in options:
        if not maps.linears:
            raise ValueError("LoRA: the backbone has no linear layers; give adapters.lora.target_modules")
        options["target_modules"] = list(maps.linears)
    config.model.backbone = {"type": "AdaptedBackbone", "backbone": backbone.to_dict(), "adapter": options}
    if options and options["type"] == "MoPPA":
        config.custom_hooks = [*(config.get("custom_hooks") or []), _ROUTES]


def linear_model(config: Config, maps: Maps, classes: int) -> dict[str, Any]:
    """A model whose predictions are linear in the backbone's maps.

    A segmentor has one convolution of 1 x 1 on all maps, brought bilinearly to the size of the finest and put beside
    each other; no auxiliary head. A detector is a RetinaNet without hidden layers: a convolution of 1 x 1 brings each
    map to 256 channels, one of 3 x 3, shared by the maps, gives classes and boxes of the anchors; no masks.
    """
    model = config.model.to_dict() if isinstance(config.model, Config) else copy.deepcopy(dict(config.model))
    backbone, prepares = copy.deepcopy(model["backbone"]), copy.deepcopy(model.get("data_preprocessor"))
    if config.default_scope == "mmseg":
        head = model["decode_head"][0] if isinstance(model["decode_head"], list) else model["decode_head"]
        kept = {
            n: head[n]
            for n in ("loss_decode", "ignore_index", "align_corners", "out_channels", "threshold")
            if n in head
        }
        width = sum(maps.channels)
        linear = {
            **{"type": "FCNHead", "num_convs": 0, "kernel_size": 1, "concat_input": False, "dropout_ratio": 0.0},
            **{"in_channels": list(maps.channels), "in_index": list(range(len(maps.channels)))},
            **{"channels": width, "input_transform": "resize_concat", "num_classes": classes, **kept},
        }
        changed = {"type": "EncoderDecoder", "backbone": backbone, "decode_head": linear}
        return {**changed, "data_preprocessor": prepares, "train_cfg": {}, "test_cfg": model.get("test_cfg") or {}}
    base = Config.fromfile(_retinanet()).model.to_dict()
    width = 256
    base |= {"backbone": backbone, "data_preprocessor": prepares}
    base["neck"] = {
        **{"type": "ChannelMapper", "in_channels": list(maps.channels), "out_channels": width},
        **{"kernel_size": 1, "act_cfg": None, "num_outs": len(maps.channels)},
    }
    base["bbox_head"] |= {"num_classes": classes, "stacked_convs": 0, "in_channels": width, "feat_channels": width}
    base["bbox_head"]["anchor_generator"] = _anchors(model, maps)
    return base


def _retinanet() -> str:
    import mmdet

    return f"{mmdet.__path__[0]}/.mim/configs/_base_/models/retinanet_r50_fpn.py"


def _anchors(model: dict[str, Any], maps: Maps) -> dict[str, Any]:
    """Those of the model where it has some, for as many levels as there are maps; a plain network's differ by size."""
    head = model.get("rpn_head") or model.get("bbox_head") or {}
    given = head.get("anchor_generator") or {}
    strides = [list(maps.levels)[i] for i in range(len(maps.channels))]
    found = {"type": "AnchorGenerator", "ratios": given.get("ratios", [0.5, 1.0, 2.0]), "strides": list(maps.strides)}
    if "scales" in given:
        found["scales"] = given["scales"]
    else:
        found |= {name: given.get(name, value) for name, value in (("octave_base_scale", 4), ("scales_per_octave", 3))}
    return {**found, "base_sizes": strides}
