"""Networks as they were trained, and images for them, for what looks inside."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from backbones.openmmlab import read_safely
from evaluation.assembly import Contender
from evaluation.weights import tensors


def backbone_of(contender: Contender, protocol: str, seed: int, checkpoint: Path | None = None) -> nn.Module:
    """The backbone of a run in evaluation mode, with what it has learned; without a checkpoint before training.

    Where it starts from scratch its random numbers are others than those of the run.
    """
    read_safely()
    torch.manual_seed(seed)
    config = contender.model(protocol, contender.checkpoint(seed))
    init_default_scope(config.default_scope)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = MODELS.build(config.model.backbone)
        if hasattr(net, "init_weights"):
            net.init_weights()
    if checkpoint is not None:
        ours = {n.removeprefix("backbone."): t for n, t in tensors(checkpoint).items() if n.startswith("backbone.")}
        missing, unexpected = net.load_state_dict(ours, strict=False)
        if missing or unexpected:
            raise ValueError(f"checkpoint and backbone do not fit: {', '.join([*missing, *unexpected][:3])}")
    net.eval()
    return net


def example_images(contender: Contender, count: int = 8) -> Tensor:
    """The first images that are tested and have one size, as the network takes them: ``(B, 3, H, W)``."""
    ready = contender.ready
    init_default_scope(ready.config.default_scope)
    found: list[Tensor] = []
    prepare = MODELS.build(contender.base.model.data_preprocessor)
    for i in range(len(ready.tested)):
        sample = ready.tested[i]
        prepared = prepare({"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]})["inputs"]
        if not found or prepared.shape == found[0].shape:
            found.append(prepared)
        if len(found) == count:
            break
    return torch.cat(found).float()
