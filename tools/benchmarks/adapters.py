"""Cases of a ViT-B/16 with adapters, beside other ways to fine-tune it."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
from peft import FourierFTConfig, LoraConfig, get_peft_model
from torch import nn

import adapters
from benchmarks.case import Case, inference, step
from benchmarks.measuring import Run

_QKV = {"target_modules": r".*\.attn\.qkv"}


def _methods() -> dict[str, Callable[[], nn.Module]]:
    def vit() -> nn.Module:
        return timm.create_model("vit_base_patch16_224")

    def only(*parts: str) -> nn.Module:
        model = vit()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(part in name for part in parts))
        return model

    return {
        "MoPPA": lambda: get_peft_model(vit(), adapters.MoPPAConfig()),
        "MoPPA released": lambda: get_peft_model(vit(), adapters.MoPPAConfig(physics="released", init="released")),
        "MoPPA + rescale": lambda: get_peft_model(vit(), adapters.MoPPAConfig(rescale=True)),
        "LoRA r=8, qkv": lambda: get_peft_model(vit(), LoraConfig(r=8, **_QKV)),
        "FourierFT, qkv": lambda: get_peft_model(vit(), FourierFTConfig(n_frequency=1000, **_QKV)),
        "BitFit": lambda: only("bias"),
        "linear probe": lambda: only("head."),
        "full": lambda: only(""),
    }


def adapter_step(batch: int) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        x = torch.randn(batch, 3, 224, 224, device=device)
        return {name: step(build().train().to(device), x, False) for name, build in _methods().items()}, None

    return Case(f"ViT-B/16, 224 px, batch {batch}", make, memory=True)


def adapter_inference(batch: int) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        x = torch.randn(batch, 3, 224, 224, device=device)
        build = _methods()
        models = {"MoPPA, gains stored": build["MoPPA"]().eval().to(device)}
        adapters.precompute(models["MoPPA, gains stored"], x)
        models |= {"MoPPA": build["MoPPA"](), "LoRA r=8, qkv": build["LoRA r=8, qkv"](), "bare": build["full"]()}
        models = {name: model.eval().to(device) for name, model in models.items()}
        return {name: inference(lambda m=m: m(x), False, device) for name, m in models.items()}, None

    return Case(f"ViT-B/16, 224 px, batch {batch}", make)
