"""What an exported file says of itself: its task, its classes, and what its input must be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from backbones.openmmlab.export.pixels import Pixels

__all__ = ["describe"]


def describe(
    model: nn.Module,
    pipeline: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    part: str = "model",
) -> dict[str, str]:
    """Metadata of an exported file; all values are texts, those of lists and numbers JSON.

    - ``task``: ``detection``, ``segmentation`` or ``features``; ``classes``, ``palette`` (red, green, blue);
    - ``input``: its type and shape; ``channels``: ``BGR``, or which transform's order;
    - ``resize``: null, or ``{"scale": [width, height], "keep_ratio": true}``, which precedes the network, as mmcv's
      ``Resize``; ``other_steps``: names of further transforms of the pipeline that change images;
    - ``size_divisor``: what the graph itself pads height and width to; ``min_side``: the smallest power of 2 that the
      model takes as height and width; the file does not check it;
    - ``iou_threshold`` of a detector's suppression, ``mask_threshold`` of its masks;
    - ``threshold`` of the probability of a segmentor with one output; ``align_corners`` of its scores when they are
      resized; ``slide``: null, or the ``crop_size`` and ``stride`` (height, width) of its ``test_cfg``'s windows.

    Args:
        model: The model.
        pipeline: The config's test pipeline, from loading on.
        classes: Names.
        palette: Colours.
        part: As in :func:`~backbones.openmmlab.export.exportable`.

    Raises:
        ValueError: The pipeline resizes twice, or in another way than to one scale.
    """
    load, *steps = [dict(step, type=step["type"].rpartition(".")[2]) for step in pipeline]
    resizes = [step for step in steps if step["type"] == "Resize" and not _keeps_size(step)]
    if len(resizes) > 1 or any(step.get("scale") is None for step in resizes):
        raise ValueError(f"the test pipeline must have at most one Resize, to one scale, to be exported: {resizes}")
    known = load["type"] == "LoadImageFromFile" and load.get("color_type", "color") == "color"
    told: dict[str, Any] = {
        "input": "uint8 (1, 3, height, width), 0 to 255",
        "channels": "BGR" if known else f"as {load['type']} gives them",
        "resize": None,
        "other_steps": [s["type"] for s in steps if s["type"] != "Resize" and not s["type"].startswith("Pack")],
        "size_divisor": Pixels(model.data_preprocessor).divisor,
        "min_side": _min_side(model),
    }
    if resizes:
        scale = resizes[0]["scale"]
        scale = [scale, scale] if isinstance(scale, int) else list(scale)
        told["resize"] = {"scale": scale, "keep_ratio": bool(resizes[0].get("keep_ratio", False))}
    if part == "backbone":
        told["task"] = "features"
    elif hasattr(model, "decode_head"):
        slides = model.test_cfg.get("mode", "whole") == "slide"
        told["task"] = "segmentation"
        told["slide"] = {name: list(model.test_cfg[name]) for name in ("crop_size", "stride")} if slides else None
        told["threshold"] = getattr(model.decode_head, "threshold", None) or 0.5
        told["align_corners"] = model.align_corners
    else:
        final = model.test_cfg.get("rcnn") or model.test_cfg
        told |= {"task": "detection", "iou_threshold": (final.get("nms") or {}).get("iou_threshold", 0.5)}
        told["mask_threshold"] = final.get("mask_thr_binary", 0.5)
    if part == "model":
        told |= {"classes": list(classes), "palette": [list(map(int, colour)) for colour in palette]}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}


def _keeps_size(resize: Mapping[str, Any]) -> bool:
    factor = resize.get("scale_factor")
    factors = factor if isinstance(factor, (tuple, list)) else (factor,)
    return resize.get("scale") is None and all(each == 1 for each in factors)


@torch.no_grad()
def _min_side(model: nn.Module) -> int:
    pixels = Pixels(model.data_preprocessor)
    for exponent in range(10):
        try:
            model.backbone(pixels(torch.zeros(1, 3, 2**exponent, 2**exponent)))
        except (ValueError, RuntimeError):
            continue
        break
    return 2**exponent
