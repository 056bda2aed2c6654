"""The methods tools/evaluate_peft.py compares, sized to two budgets of trainable parameters per backbone.

MoPPA's operators alone cannot be made as large as its rescaling, so there is a small budget, for what fits it, and a
large one. Bias tuning, the head alone and everything have the size they have. All train the head, which counts for none
of them, and start as the pre-trained network, except for MoPPA's released form, which starts near it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from _pretrain import HEADS
from peft import FourierFTConfig, LoraConfig, PeftConfig, get_peft_model
from torch import nn

from adapters import MoPPAConfig

#: Trainable parameters besides the head, and how far a method of a budget may be from it.
BUDGETS = {"vit": {"small": 1_100, "large": 8_500}, "vheat": {"small": 2_100, "large": 16_800}}
TOLERANCE = 0.1

#: The linear layers of a block that LoRA and FourierFT change: those that MoPPA's rescaling does, too.
_LINEARS = {
    "vit": r".*\.(attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)",
    "vheat": r".*\.(mixer\.value|mixer\.proj|mlp\.fc1|mlp\.fc2)",
}
#: In a small budget LoRA of rank 1 has room for fewer.
_FEW = {
    "vit": r"blocks\.[123]\.attn\.qkv",
    "vheat": r"stages\..*\.mixer\.value|stages\.3\..*\.mixer\.proj",
}
#: In a large one it has rank 1 in MLPs and this one before and after token mixing.
_RANKS = {"vit": {"attn.qkv": 2, "attn.proj": 2}, "vheat": {"mixer.value": 3, "mixer.proj": 3}}
_FREQUENCIES = {"vit": {"small": 69, "large": 531}, "vheat": {"small": 87, "large": 700}}


def _fourier(backbone: str, budget: str, seed: int) -> PeftConfig:
    frequencies = _FREQUENCIES[backbone][budget]
    return FourierFTConfig(
        n_frequency=frequencies, target_modules=_LINEARS[backbone], init_weights=True, random_loc_seed=seed
    )


def _lora(backbone: str, targets: str, ranks: dict[str, int] | None = None) -> PeftConfig:
    return LoraConfig(r=1, target_modules=targets, rank_pattern=ranks or {})


def _own(**options: Any) -> Callable[[str, int], PeftConfig]:
    return lambda backbone, seed: MoPPAConfig(**options)


@dataclass(frozen=True)
class Method:
    """A way to fine-tune.

    Attributes:
        title: For tables.
        budget: ``"small"``, ``"large"`` or None, by backbone.
        config: Makes PEFT's config from the backbone's name and a seed; None where PEFT is not used.
        trains: Otherwise, whether a parameter of this name is trained beside the head.
        variant: Whether it is there to explain another method's result, and run only where it is asked for.
    """

    title: str
    budget: dict[str, str]
    config: Callable[[str, int], PeftConfig] | None = None
    trains: Callable[[str], bool] = lambda name: False
    variant: bool = False


def _both(budget: str) -> dict[str, str]:
    return {"vit": budget, "vheat": budget}


def _variant(title: str, config: Callable[[str, int], PeftConfig]) -> Method:
    return Method(f"MoPPA exact, {title}", {}, config, variant=True)


METHODS: dict[str, Method] = {
    "linear": Method("linear", {}),
    "bitfit": Method("BitFit", {}, trains=lambda name: name.endswith("bias")),
    "lora_small": Method("LoRA, few layers", _both("small"), lambda name, seed: _lora(name, _FEW[name])),
    "fourierft_small": Method("FourierFT, few modes", _both("small"), lambda name, seed: _fourier(name, "small", seed)),
    "ssf": Method("SSF", _both("small"), _own(priors=(), ssf=True)),
    # On larger maps than a ViT's its coefficients per mode are many.
    "moppa_released": Method(
        "MoPPA released", {"vit": "small", "vheat": "large"}, _own(physics="released", init="released")
    ),
    # One head, and so a time for every channel: the form nearest to the budget.
    "moppa_exact": Method("MoPPA exact", _both("small"), _own(num_heads=1)),
    "lora": Method(
        "LoRA", _both("large"), lambda backbone, seed: _lora(backbone, _LINEARS[backbone], _RANKS[backbone])
    ),
    "fourierft": Method("FourierFT", _both("large"), lambda name, seed: _fourier(name, "large", seed)),
    "rlrr": Method("RLRR", _both("large"), _own(priors=(), rescale=True)),
    "moppa_rescale": Method("MoPPA exact + rescale", _both("large"), _own(rescale=True)),
    "full": Method("full", {}, trains=lambda name: True),
    # What if it stood elsewhere, had no gates, saw its input, or scaled channels too?
    "moppa_mlp": _variant("before MLPs", _own(num_heads=1, placement="mlp")),
    "moppa_parallel": _variant("in parallel", _own(num_heads=1, placement="parallel")),
    "moppa_ungated": _variant("no gates", _own(num_heads=1, init="released")),
    "moppa_routed": _variant("routes from the input", _own(num_heads=1, router="input")),
    "moppa_gated": Method("MoPPA released, gates", {}, _own(physics="released"), variant=True),
    "moppa_ssf": Method("MoPPA exact + SSF", {}, _own(ssf=True), variant=True),
    "moppa_all": Method(
        "MoPPA released + rescale + SSF", {}, _own(physics="released", init="released", rescale=True, ssf=True),
        variant=True,
    ),
}  # fmt: skip


def adapt(model: nn.Module, backbone: str, method: str, seed: int) -> nn.Module:
    """The network with the method's parameters, and the head, the only ones that train."""
    chosen, head = METHODS[method], HEADS[backbone]
    if chosen.config is not None:
        config = chosen.config(backbone, seed)
        config.modules_to_save = [head]
        return get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(f"{head}.") or chosen.trains(name))
    return model


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def adapter_size(model: nn.Module, backbone: str) -> int:
    """How many numbers train besides the head."""
    inside = (f"{HEADS[backbone]}.", f".{HEADS[backbone]}.")
    return sum(p.numel() for n, p in trained(model).items() if not n.startswith(inside[0]) and inside[1] not in n)
