"""RS-vHeat-B on large images beside attention, whose cost the paper compares: memory, speed, multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn

from backbones.remote_sensing import OPTICAL
from benchmarks.case import Case, inference
from benchmarks.measuring import Run

SIZES = (512, 1024)


def _rs_vheat(image: int) -> nn.Module:
    net = timm.create_model("rs_vheat_base", modalities=[OPTICAL], img_size=224).eval()
    net.reparameterize([image], keep_source=False)
    return net


def _vheat(image: int) -> nn.Module:
    net = timm.create_model("vheat_base", num_classes=0).eval()
    net.reparameterize([image], keep_source=False)
    return net


def _swin(image: int, window: int) -> nn.Module:
    options = {"img_size": image, "window_size": window, "num_classes": 0}
    return timm.create_model("swin_base_patch4_window7_224", **options).eval()


def _vit(image: int) -> nn.Module:
    return timm.create_model("vit_base_patch16_224", img_size=image, num_classes=0).eval()


#: All without classifiers, for images of one size.
CONTENDERS: dict[str, Callable[[int], nn.Module]] = {
    "ours": _rs_vheat,
    "ours, vHeat-B": _vheat,
    "Swin-B, windows of 7": lambda image: _swin(image, 7),
    "Swin-B, growing windows": lambda image: _swin(image, image // 32),
    "ViT-B/16": _vit,
}


def large_images(image: int, batch: int = 1, amp: bool = False) -> Case:
    """Inference of pooled features on squares of this size, gains stored for it; images a second are batch / time."""

    def make(device: torch.device) -> tuple[dict[str, Run], Tensor | None]:
        x = torch.randint(0, 256, (batch, 3, image, image), generator=torch.Generator().manual_seed(0)).float()
        x = x.to(device)  # of bytes, as RS-vHeat wants them; to the others it is all the same
        runs = {}
        for title, create in CONTENDERS.items():
            net = create(image).to(device)
            runs[title] = inference(lambda net=net: net(x), amp, device)
        return runs, None

    name = f"{image} px, batch {batch}" + (", bfloat16" if amp else "")
    return Case(name, make, memory=True, pixels=image, rounds=3 if image > 512 else 5)
