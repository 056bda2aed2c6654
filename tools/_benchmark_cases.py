"""What tools/benchmark.py measures: cases in groups, each with its contenders, ours first.

Contenders of one case do the same work on the same input. Networks that restate ours have its weights, so that their
errors against float64 mean something; peers from timm are fresh. Every parameter of ours is moved off its start, where
gains are almost 1.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import timm
import torch
import torch_dct
from _benchmark_measure import Run
from _benchmark_public import PublicBlock, PublicVHeat, decay, public_dct2, public_idct2
from peft import FourierFTConfig, LoraConfig, get_peft_model
from timm.models.convnext import ConvNeXtBlock
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

import adapters
import backbones
from backbones import SpectralBlock, packed, stage_sizes
from spectral_ops import ChannelLinear, Heat, Precomputed, apply_gain, cosine_basis, dctn, idctn

#: Cells per side and channels of the four stages of vHeat-T at 224 px.
STAGES = ((56, 96), (28, 192), (14, 384), (7, 768))
PEERS = {
    "tiny": {"Swin": "swin_tiny_patch4_window7_224", "ConvNeXt": "convnext_tiny", "DeiT": "deit_small_patch16_224"},
    "small": {"Swin": "swin_small_patch4_window7_224", "ConvNeXt": "convnext_small"},
    "base": {"Swin": "swin_base_patch4_window7_224", "ConvNeXt": "convnext_base", "DeiT": "deit_base_patch16_224"},
}


@dataclass(frozen=True)
class Case:
    """Contenders that do the same work.

    Attributes:
        name: Within its group, with sizes.
        make: Makes the contenders, ours first, and where there is one the exact result in float64.
        compared: Contenders whose results must be the exact one.
        memory: Whether peak memory is measured too.
        pixels: Pixels of the image side where cases of a group form a series, for plots.
        rounds: At most this many samples of each contender, for cases that take minutes.
    """

    name: str
    make: Callable[[torch.device], tuple[dict[str, Run], Tensor | None]]
    compared: tuple[str, ...] = ()
    memory: bool = False
    pixels: int | None = None
    rounds: int | None = None


@dataclass
class Group:
    """Cases whose figures share a table."""

    title: str
    cases: list[Case] = field(default_factory=list)


def _moved(model: nn.Module, size: float = 0.02) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return model


# -- operators --------------------------------------------------------------------------------------------------------


def _einsum(x: Tensor, basis: Tensor) -> Tensor:
    spectrum = torch.einsum("mw,bnwc->bnmc", basis, torch.einsum("nh,bhwc->bnwc", basis, x))
    return torch.einsum("nh,bnwc->bhwc", basis, torch.einsum("mw,bnmc->bnwc", basis, spectrum))


def _torch_dct(x: Tensor, basis: Tensor) -> Tensor:
    spectrum = torch_dct.dct_2d(x.permute(0, 3, 1, 2), norm="ortho")
    return torch_dct.idct_2d(spectrum, norm="ortho").permute(0, 2, 3, 1)


#: Cosine transforms and back; the basis is ignored by those that make their own.
_ROUND_TRIPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "matmul (ours)": lambda x, basis: idctn(dctn(x, (1, 2), backend="matmul"), (1, 2), backend="matmul"),
    "einsum": _einsum,
    "convolution": lambda x, basis: public_idct2(public_dct2(x, basis, basis), basis, basis),
    "torch-dct": _torch_dct,
}


def _transforms(n: int, channels: int, batch: int, *, dtype: torch.dtype = torch.float32, step: bool = False) -> Case:
    """There and back: the input is the exact result, and the gradient that comes in the one that goes out."""
    trips = {k: f for k, f in _ROUND_TRIPS.items() if dtype == torch.float32 or k != "torch-dct"}  # an FFT

    def make(device: torch.device) -> tuple[dict[str, Run], Tensor]:
        exact = torch.randn(batch, n, n, channels)
        x, basis = exact.to(device, dtype), cosine_basis(n).to(device, dtype)
        if not step:
            return {name: lambda f=f: f(x, basis) for name, f in trips.items()}, exact.double()
        leaf = torch.randn_like(x).requires_grad_()
        return {
            name: lambda f=f: _gradients(lambda: f(leaf, basis), [leaf], x) for name, f in trips.items()
        }, exact.double().flatten()

    return Case(_named(n, channels, batch, dtype == torch.bfloat16), make, tuple(trips))


def _named(n: int, channels: int, batch: int, bf16: bool = False) -> str:
    return f"{n} x {n} x {channels}, batch {batch}" + (", bfloat16" if bf16 else "")


def _spectral_part(n: int, channels: int, batch: int) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], Tensor]:
        x, gain, basis = torch.randn(batch, n, n, channels), torch.rand(n, n, channels), cosine_basis(n)
        exact = apply_gain(x.double(), gain.double(), (1, 2))
        x, gain, basis = x.to(device), gain.to(device), basis.to(device)

        def products() -> Tensor:
            y = x
            for matrix in (basis, basis.mT):
                y = torch.matmul(matrix, torch.matmul(matrix, y.flatten(2)).view(x.shape))
            return y

        def public() -> Tensor:
            spectrum = torch.einsum("bnmc,nmc->bnmc", public_dct2(x, basis, basis), gain)
            return public_idct2(spectrum, basis, basis)

        run = torch.inference_mode()
        ours = run(lambda: apply_gain(x, gain, (1, 2)))
        return {"ours": ours, "four products alone": run(products), "public": run(public)}, exact

    return Case(_named(n, channels, batch), make, ("ours", "public"))


def _gradients(run: Run, leaves: list[Tensor], toward: Tensor) -> Tensor:
    for leaf in leaves:
        leaf.grad = None
    run().backward(toward)
    return torch.cat([leaf.grad.flatten() for leaf in leaves])


def _operator_step(n: int, channels: int, batch: int) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], Tensor]:
        x, k, toward = (
            torch.randn(batch, n, n, channels),
            torch.rand(n, n, channels),
            torch.randn(batch, n, n, channels),
        )
        basis, exponential = cosine_basis(n).to(device), decay(n, n)[..., None].to(device)

        def ours(x: Tensor, k: Tensor, toward: Tensor) -> Run:
            x, operator = x.clone().requires_grad_(), Heat(nn.Parameter(k.clone()), dims=(1, 2))
            return lambda: _gradients(lambda: operator(x), [x, operator.diffusivity], toward)

        def public(x: Tensor, k: Tensor, toward: Tensor) -> Run:
            x, k = x.clone().requires_grad_(), k.clone().requires_grad_()

            def forward() -> Tensor:
                spectrum = torch.einsum("bnmc,nmc->bnmc", public_dct2(x, basis, basis), torch.pow(exponential, k))
                return public_idct2(spectrum, basis, basis)

            return lambda: _gradients(forward, [x, k], toward)

        exact = ours(x.double(), k.double(), toward.double())()
        arguments = x.to(device), k.to(device), toward.to(device)
        return {"ours": ours(*arguments), "public": public(*arguments)}, exact

    return Case(_named(n, channels, batch), make, ("ours", "public"), memory=True)


def _linear(n: int, channels: int, batch: int) -> Case:
    """The first linear of an MLP."""

    def make(device: torch.device) -> tuple[dict[str, Run], Tensor]:
        ours, plain = ChannelLinear(channels, 4 * channels), nn.Linear(channels, 4 * channels)
        plain.load_state_dict(ours.state_dict())
        x = torch.randn(batch, n, n, channels)
        exact = nn.functional.linear(x.double(), ours.weight.double(), ours.bias.double()).detach()
        models, x = {"ours": ours.to(device), "nn.Linear": plain.to(device)}, x.to(device)
        if device.type == "cpu":
            models["ours, packed"] = packed(nn.Sequential(ours).eval(), x)
        return {name: _inference(lambda m=m: m(x), False, device) for name, m in models.items()}, exact

    return Case(f"{n} x {n} x {channels} to {4 * channels}, batch {batch}", make, ("ours", "nn.Linear", "ours, packed"))


# -- blocks and networks ----------------------------------------------------------------------------------------------


def _inference(run: Run, amp: bool, device: torch.device) -> Run:
    def guarded() -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=amp):
            return run()

    return guarded


def _step(model: nn.Module, x: Tensor, amp: bool, *extra: Tensor) -> Run:
    """Forward, backward; no optimiser."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def run() -> None:
        for parameter in parameters:
            parameter.grad = None
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            y = model(x, *extra)
        y.float().square().mean().backward()

    return run


def _blocks(n: int, channels: int, batch: int, train: bool, amp: bool = False) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        block = _moved(SpectralBlock(channels, backbones.heat_operator(channels))).to(device).train(train)
        public = PublicBlock(channels, False).to(device).train(train)
        embedding = torch.randn(n, n, channels, device=device)
        swin = SwinTransformerBlock(channels, (n, n), channels // 32, window_size=7).to(device).train(train)
        convnext = ConvNeXtBlock(channels).to(device).train(train)
        x = torch.randn(batch, n, n, channels, device=device)
        first = x.permute(0, 3, 1, 2).contiguous()
        if train:
            return {
                "ours": _step(block, x, amp, embedding),
                "public": _step(public, first, amp, embedding),
                "Swin": _step(swin, x, amp),
                "ConvNeXt": _step(convnext, first, amp),
            }, None
        with torch.no_grad():
            stored = Precomputed(block.mixer.operator)
            stored.store((n, n), stored.source.gain((n, n), embedding=embedding))
            block.mixer.operator = stored
            public.op.k_exp = public.op.gain(decay(n, n).to(device), embedding)
        return {
            "ours": _inference(lambda: block(x), amp, device),
            "public": _inference(lambda: public(first, embedding), amp, device),
            "Swin": _inference(lambda: swin(x), amp, device),
            "ConvNeXt": _inference(lambda: convnext(first), amp, device),
        }, None

    return Case(_named(n, channels, batch, amp), make)


def _peer(name: str, image: int) -> nn.Module:
    sized = {} if name.startswith("convnext") else {"img_size": image}
    return timm.create_model(name, **sized)


def _networks(size: str, image: int, batch: int, amp: bool = False, series: bool = False) -> Case:
    """Inference; ours and the public formulation with gains stored for this size of images."""

    def make(device: torch.device) -> tuple[dict[str, Run], Tensor]:
        net = _moved(timm.create_model(f"vheat_{size}")).eval()
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
        models |= {title: _peer(name, image).eval().to(device) for title, name in PEERS[size].items()}
        if packs:
            titles = ("public", "Swin", "ConvNeXt")
            models |= {f"{title}, packed": packed(models[title], x, dtype=dtype) for title in titles}
        runs = {title: _inference(lambda m=m: m(x), amp, device) for title, m in models.items()}
        if amp:
            runs["public, float32"] = _inference(lambda: public(x), False, device)
        return runs, exact

    compared = ("ours", "public", "ours, packed", "public, packed", "public, float32")
    side, rounds = (image if series else None), (3 if image > 1024 else None)
    return Case(f"{size}, {image} px, batch {batch}", make, compared, True, side, rounds)


def _training(size: str, batch: int, amp: bool = False) -> Case:
    """One step, images of 224 px, without the optimiser."""

    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        net = _moved(timm.create_model(f"vheat_{size}"))
        models = {"ours": net, "ours, checkpointing": copy.deepcopy(net), "public": PublicVHeat(net)}
        models["ours, checkpointing"].set_grad_checkpointing()
        models |= {title: timm.create_model(name) for title, name in PEERS[size].items()}
        x = torch.randn(batch, 3, 224, 224, device=device)
        return {title: _step(m.train().to(device), x, amp) for title, m in models.items()}, None

    return Case(f"{size}, 224 px, batch {batch}", make, memory=True)


def _relatives(batch: int) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        x = torch.randn(batch, 3, 224, 224, device=device)
        runs = {}
        for family in backbones.FAMILIES:
            net = _moved(timm.create_model(f"{family}_tiny")).eval().to(device)
            with contextlib.suppress(ValueError):  # a gain that depends on the input
                net.reparameterize([224])
            runs[family] = _inference(lambda net=net: net(x), False, device)
        return runs, None

    return Case(f"tiny, 224 px, batch {batch}", make)


# -- adapters ---------------------------------------------------------------------------------------------------------

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


def _adapter_step(batch: int) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        x = torch.randn(batch, 3, 224, 224, device=device)
        return {name: _step(build().train().to(device), x, False) for name, build in _methods().items()}, None

    return Case(f"ViT-B/16, 224 px, batch {batch}", make, memory=True)


def _adapter_inference(batch: int) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        x = torch.randn(batch, 3, 224, 224, device=device)
        build = _methods()
        models = {"MoPPA, gains stored": build["MoPPA"]().eval().to(device)}
        adapters.precompute(models["MoPPA, gains stored"], x)
        models |= {"MoPPA": build["MoPPA"](), "LoRA r=8, qkv": build["LoRA r=8, qkv"](), "bare": build["full"]()}
        models = {name: model.eval().to(device) for name, model in models.items()}
        return {name: _inference(lambda m=m: m(x), False, device) for name, m in models.items()}, None

    return Case(f"ViT-B/16, 224 px, batch {batch}", make)


# -- the registry -----------------------------------------------------------------------------------------------------


def groups(device: torch.device) -> dict[str, Group]:
    """Every group by name. On a GPU batches are larger."""
    gpu = device.type == "cuda"
    batch, batches = (128, (1, 128)) if gpu else (4, (1, 4))
    sides = (224, 384, 512, 768, 1024, 2048)
    return {
        "transforms": Group(
            "Cosine transform and back",
            [_transforms(n, c, batch) for n, c in (*STAGES, (128, 64), (256, 16))]
            + [_transforms(n, c, batch, dtype=torch.bfloat16) for n, c in STAGES],
        ),
        "transforms-step": Group(
            "Cosine transform and back, forward and backward", [_transforms(n, c, batch, step=True) for n, c in STAGES]
        ),
        "spectral": Group(
            "The heat operator with a stored gain: transform, gain, transform back, inference",
            [_spectral_part(n, c, batch) for n, c in (*STAGES, (192, 96))],
        ),
        "operator": Group(
            "The heat operator with a learned k, forward and backward", [_operator_step(n, c, batch) for n, c in STAGES]
        ),
        "linear": Group("The first linear of an MLP, inference", [_linear(n, c, batch) for n, c in STAGES]),
        "block": Group(
            "One block, inference", [_blocks(n, c, batch, False, amp) for amp in (False, True) for n, c in STAGES]
        ),
        "block-step": Group(
            "One block, forward and backward",
            [_blocks(n, c, batch, True, amp) for amp in (False, True) for n, c in STAGES],
        ),
        "inference": Group("Networks, inference", [_networks("tiny", 224, b) for b in batches]),
        "sizes": Group("Larger networks, inference", [_networks(size, 224, batches[-1]) for size in ("small", "base")]),
        "resolution": Group(
            "Inference against resolution", [_networks("tiny", side, 1, series=True) for side in sides]
        ),
        "bf16": Group(
            "Inference under bfloat16 autocast",
            [*(_networks("tiny", 224, b, amp=True) for b in batches), _networks("tiny", 768, 1, amp=True)],
        ),
        "training": Group("Training step", [_training("tiny", b) for b in ((128,) if gpu else (4, 16))]),
        "relatives": Group("Relatives, inference", [_relatives(batch)]),
        "adapter-step": Group("Adapters, training step", [_adapter_step(128 if gpu else 8)]),
        "adapter-inference": Group("Adapters, inference", [_adapter_inference(b) for b in batches]),
    }
