"""Cases of blocks and networks, beside the public formulation and peers from timm."""

from __future__ import annotations

import contextlib
import copy

import timm
import torch
from timm.models.convnext import ConvNeXtBlock
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

import backbones
from backbones import SpectralBlock, packed, stage_sizes
from benchmarks.case import Case, inference, moved, named, step
from benchmarks.measuring import Run
from benchmarks.public import PublicBlock, PublicVHeat, decay
from spectral_ops import Precomputed

PEERS = {
    "tiny": {"Swin": "swin_tiny_patch4_window7_224", "ConvNeXt": "convnext_tiny", "DeiT": "deit_small_patch16_224"},
    "small": {"Swin": "swin_small_patch4_window7_224", "ConvNeXt": "convnext_small"},
    "base": {"Swin": "swin_base_patch4_window7_224", "ConvNeXt": "convnext_base", "DeiT": "deit_base_patch16_224"},
}


def blocks(n: int, channels: int, batch: int, train: bool, amp: bool = False) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        block = moved(SpectralBlock(channels, backbones.heat_operator(channels))).to(device).train(train)
        public = PublicBlock(channels, False).to(device).train(train)
        embedding = torch.randn(n, n, channels, device=device)
        swin = SwinTransformerBlock(channels, (n, n), channels // 32, window_size=7).to(device).train(train)
        convnext = ConvNeXtBlock(channels).to(device).train(train)
        x = torch.randn(batch, n, n, channels, device=device)
        first = x.permute(0, 3, 1, 2).contiguous()
        if train:
            return {
                "ours": step(block, x, amp, embedding=embedding),
                "public": step(public, first, amp, embedding),
                "Swin": step(swin, x, amp),
                "ConvNeXt": step(convnext, first, amp),
            }, None
        with torch.no_grad():
            stored = Precomputed(block.mixer.operator)
            stored.store((n, n), stored.source.gain((n, n), embedding=embedding))
            block.mixer.operator = stored
            public.op.k_exp = public.op.gain(decay(n, n).to(device), embedding)
        return {
            "ours": inference(lambda: block(x), amp, device),
            "public": inference(lambda: public(first, embedding), amp, device),
            "Swin": inference(lambda: swin(x), amp, device),
            "ConvNeXt": inference(lambda: convnext(first), amp, device),
        }, None

    return Case(named(n, channels, batch, amp), make)


def peer(name: str, image: int) -> nn.Module:
    """A network of timm for images of this size."""
    sized = {} if name.startswith("convnext") else {"img_size": image}
    return timm.create_model(name, **sized)


def networks(size: str, image: int, batch: int, amp: bool = False, series: bool = False) -> Case:
    """Inference; ours and the public formulation with gains stored for this size of images."""

    def make(device: torch.device) -> tuple[dict[str, Run], Tensor]:
        net = moved(timm.create_model(f"vheat_{size}")).eval()
        x = torch.randn(batch, 3, image, image)
        with torch.inference_mode():
            exact = copy.deepcopy(net).double()(x.double())
        public = PublicVHeat(net).eval().to(device)
        net, x = net.to(device), x.to(device)
        public.precompute(stage_sizes(image))
        net.reparameterize([image])
        models = {"ours": net, "public": public}
        packs = device.type == "cpu" and torch.backends.mkldnn.is_available()
        packs = packs and (not amp or torch.ops.mkldnn._is_mkldnn_bf16_supported())
        dtype = torch.bfloat16 if amp else torch.float32
        if packs:
            models["ours, packed"] = packed(net, x, dtype=dtype)
        models |= {title: peer(name, image).eval().to(device) for title, name in PEERS[size].items()}
        if packs:
            titles = ("public", "Swin", "ConvNeXt")
            models |= {f"{title}, packed": packed(models[title], x, dtype=dtype) for title in titles}
        runs = {title: inference(lambda m=m: m(x), amp, device) for title, m in models.items()}
        if amp:
            runs["public, float32"] = inference(lambda: public(x), False, device)
        return runs, exact

    compared = ("ours", "public", "ours, packed", "public, packed", "public, float32")
    side, rounds = (image if series else None), (3 if image > 1024 else None)
    return Case(f"{size}, {image} px, batch {batch}", make, compared, True, side, rounds)


def training(size: str, batch: int, amp: bool = False) -> Case:
    """One step, images of 224 px, without the optimiser."""

    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        net = moved(timm.create_model(f"vheat_{size}"))
        models = {"ours": net, "ours, checkpointing": copy.deepcopy(net), "public": PublicVHeat(net)}
        models["ours, checkpointing"].set_grad_checkpointing()
        models |= {title: timm.create_model(name) for title, name in PEERS[size].items()}
        x = torch.randn(batch, 3, 224, 224, device=device)
        return {title: step(m.train().to(device), x, amp) for title, m in models.items()}, None

    return Case(f"{size}, 224 px, batch {batch}", make, memory=True)


def relatives(batch: int) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        x = torch.randn(batch, 3, 224, 224, device=device)
        runs = {}
        for family in backbones.FAMILIES:
            net = moved(timm.create_model(f"{family}_tiny")).eval().to(device)
            with contextlib.suppress(ValueError):  # a gain that depends on the input
                net.reparameterize([224])
            runs[family] = inference(lambda net=net: net(x), False, device)
        return runs, None

    return Case(f"tiny, 224 px, batch {batch}", make)
