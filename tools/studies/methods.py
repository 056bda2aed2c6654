"""Every fine-tuning method that a study compares, in one table.

MoPPA's operators alone cannot be made as large as its rescaling, so there is a small budget, for what fits it, and a
large one. Bias tuning, the head alone and everything have the size they have. All train the head, which counts for none
of them, and start as the pre-trained network, except for MoPPA's released form, which starts near it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: PEFT's method as ``type``, and its options: what AdaptedBackbone of the OpenMMLab configs takes.
Adapter = dict[str, Any]

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


def _fourier(budget: str) -> dict[str, Adapter]:
    return {
        backbone: {
            "type": "FourierFT",
            "n_frequency": _FREQUENCIES[backbone][budget],
            "target_modules": targets,
            "init_weights": True,
        }
        for backbone, targets in _LINEARS.items()
    }


def _lora(targets: dict[str, str], ranks: dict[str, dict[str, int]]) -> dict[str, Adapter]:
    return {
        backbone: {"type": "LoRA", "r": 1, "target_modules": linears, "rank_pattern": ranks.get(backbone, {})}
        for backbone, linears in targets.items()
    }


def _own(**options: Any) -> dict[str, Adapter]:
    return {backbone: {"type": "MoPPA", **options} for backbone in BUDGETS}


@dataclass(frozen=True)
class Method:
    """A way to fine-tune.

    Attributes:
        title: For tables.
        budget: ``"small"``, ``"large"`` or none, by backbone.
        adapters: By backbone; empty where PEFT is not used.
        trains: Otherwise, whether a parameter of this name is trained beside the head.
        variant: Whether it is there to explain another method's result, and run only where it is asked for.
    """

    title: str
    budget: dict[str, str] = field(default_factory=dict)
    adapters: dict[str, Adapter] = field(default_factory=dict)
    trains: Callable[[str], bool] = lambda name: False
    variant: bool = False


def _both(budget: str) -> dict[str, str]:
    return dict.fromkeys(BUDGETS, budget)


def _variant(title: str, **options: Any) -> Method:
    return Method(title, adapters=_own(**options), variant=True)


def _parts(title: str, **options: Any) -> Method:
    """MoPPA with a part of rank 1, scaled outputs and, where the network has physics of its own, factors of that."""
    options = {"rank": 1, "ssf": True, **options}
    adapters = {"vit": _own(**options)["vit"], "vheat": _own(tune_physics=True, **options)["vheat"]}
    return Method(title, adapters=adapters, variant=True)


METHODS: dict[str, Method] = {
    "linear": Method("linear"),
    "bitfit": Method("BitFit", trains=lambda name: name.endswith("bias")),
    "lora_small": Method("LoRA, few layers", _both("small"), _lora(_FEW, {})),
    "fourierft_small": Method("FourierFT, few modes", _both("small"), _fourier("small")),
    "ssf": Method("SSF", _both("small"), _own(priors=(), ssf=True)),
    # On larger maps than a ViT's its coefficients per mode are many.
    "moppa_released": Method(
        "MoPPA released", {"vit": "small", "vheat": "large"}, _own(physics="released", init="released")
    ),
    # One head, and so a time for every channel: the form nearest to the budget.
    "moppa_exact": Method("MoPPA exact", _both("small"), _own(num_heads=1)),
    "lora": Method("LoRA", _both("large"), _lora(_LINEARS, _RANKS)),
    "fourierft": Method("FourierFT", _both("large"), _fourier("large")),
    "rlrr": Method("RLRR", _both("large"), _own(priors=(), rescale=True)),
    "moppa_rescale": Method("MoPPA exact + rescale", _both("large"), _own(rescale=True)),
    "full": Method("full", trains=lambda name: True),
    # What if it stood elsewhere, had no gates, saw its input, or scaled channels too?
    "moppa_mlp": _variant("MoPPA exact, before MLPs", num_heads=1, placement="mlp"),
    "moppa_parallel": _variant("MoPPA exact, in parallel", num_heads=1, placement="parallel"),
    "moppa_ungated": _variant("MoPPA exact, no gates", num_heads=1, init="released"),
    "moppa_routed": _variant("MoPPA exact, routes from the input", num_heads=1, router="input"),
    "moppa_gated": _variant("MoPPA released, gates", physics="released"),
    "moppa_ssf": _variant("MoPPA exact + SSF", ssf=True),
    # Where the network is physical already: what can change weights beside operators?
    "moppa_rank": _variant("MoPPA exact + rank 1", rank=1),
    "moppa_parts": _parts("MoPPA exact + rank 1 + SSF + physics", num_heads=1),
    "moppa_everything": _parts("MoPPA exact + rescale + rank 1 + SSF + physics", rescale=True),
    "moppa_all": _variant(
        "MoPPA released + rescale + SSF", physics="released", init="released", rescale=True, ssf=True
    ),
}
