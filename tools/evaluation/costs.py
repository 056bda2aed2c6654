"""What a network costs: numbers that train and all, multiply-accumulates, and the speed of its backbone."""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

import torch
from analysis.costs import stage_costs
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from evaluation.assembly import Contender, parameters


def model_costs(contender: Contender, protocol: str, seed: int) -> dict[str, Any]:
    """Of the whole model numbers that train and all, of its backbone those too and multiply-accumulates of one image.

    The image has the size of the first that is tested. Attention is counted as the matrix products that it is.
    """
    config = contender.model(protocol, contender.checkpoint(seed))
    init_default_scope(config.default_scope)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MODELS.build(config.model)
    trained, total = parameters(model)
    of_backbone, whole_backbone = parameters(model.backbone)
    height, width = contender.ready.input_size
    macs = stage_costs(model.backbone, (height, width), contender.ready.channels)[-1].macs
    return {
        **{"trained": trained, "parameters": total, "backbone_trained": of_backbone, "backbone": whole_backbone},
        **{"macs": macs, "size": [height, width]},
    }


@torch.no_grad()
def speeds(
    nets: dict[str, nn.Module], size: tuple[int, int], channels: int = 3, rounds: int = 15, batch: int = 8
) -> dict[str, float]:
    """Images per second of backbones in inference, which take turns; from the median of the rounds, after one aside."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.zeros(batch, channels, *size, device=device)  # of which any modality can be
    seconds: dict[str, list[float]] = {name: [] for name in nets}
    for net in nets.values():
        net.eval()
        net.to(device)
    for i in range(rounds + 1):
        for name, net in nets.items():
            start = time.perf_counter()
            net(images)
            if device == "cuda":
                torch.cuda.synchronize()
            if i:
                seconds[name].append(time.perf_counter() - start)
    return {name: batch / statistics.median(values) for name, values in seconds.items()}
