"""Cases of a step of masked pre-training, beside the same network unmasked and beside MAE of a ViT."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
from studies.fine_tuning.masked_vit import MaskedViT
from torch import Tensor, nn

from backbones import ITPN
from backbones.hivit.archs import resolve_arch
from backbones.pretraining import ITPNPretraining, MaskedPretraining, RandomUnits
from benchmarks.case import Case, moved
from benchmarks.measuring import Run


def _step(model: nn.Module, forward: Callable[[], Tensor]) -> Run:
    """Forward, backward; no optimiser."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def run() -> None:
        for parameter in parameters:
            parameter.grad = None
        forward().backward()

    return run


def _sum(maps: list[Tensor]) -> Tensor:
    return torch.stack([x.square().mean() for x in maps]).sum()


def spectral_pretraining(batch: int) -> Case:
    """vHeat-T and mmdet's FPN: re-masked, with pixels or features too, and whole images through the same network."""

    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        from mmdet.models.necks import FPN

        def masked(**targets: float) -> MaskedPretraining:
            net = moved(timm.create_model("vheat_tiny", num_classes=0))
            neck = FPN([96, 192, 384, 768], 256, 5)
            model = MaskedPretraining(net, neck, target_generator=targets, mask=RandomUnits(32, 0.6)).to(device)
            model.schedule(1000)
            return model.train()

        x = torch.randn(batch, 3, 224, 224, device=device)
        pixels, both = masked(pixels=1.0), masked(pixels=1.0, features=1.0)
        return {
            "ours, re-masked": _step(pixels, lambda: pixels(x)),
            "ours, with a moving average": _step(both, lambda: both(x)),
            "unmasked": _step(pixels, lambda: _sum(pixels.maps(x))),
        }, None

    return Case(f"vHeat-T and FPN, 224 px, batch {batch}", make, memory=True)


def itpn_pretraining(batch: int) -> Case:
    """HiViT-B and its pyramid, three of four units left out and whole, and MAE of a ViT-B with its usual decoder."""

    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        x = torch.randn(batch, 3, 224, 224, device=device)
        left_out = ITPNPretraining("base").to(device).train()
        whole = ITPN(**resolve_arch("base"), pyramid_depth=2).to(device).train()
        mae = MaskedViT(timm.create_model("vit_base_patch16_224", num_classes=0), 0.75, 512, 8, 16).to(device).train()
        return {
            "ours, 75 % left out": _step(left_out, lambda: left_out(x).loss),
            "unmasked": _step(whole, lambda: _sum(whole(x))),
            "MAE, ViT-B": _step(mae, lambda: mae(x)),
        }, None

    return Case(f"HiViT-B and pyramid, 224 px, batch {batch}", make, memory=True)
