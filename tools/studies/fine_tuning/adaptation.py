"""A network with a method's parameters, the only ones that train beside the head."""

from __future__ import annotations

from peft import FourierFTConfig, LoraConfig, PeftConfig, get_peft_model
from torch import nn

from adapters import MoPPAConfig
from studies.fine_tuning.backbones import HEADS
from studies.methods import METHODS, Adapter

_CONFIGS: dict[str, type[PeftConfig]] = {"LoRA": LoraConfig, "FourierFT": FourierFTConfig, "MoPPA": MoPPAConfig}


def _config(adapter: Adapter, seed: int) -> PeftConfig:
    options = dict(adapter)
    kind = options.pop("type")
    if kind == "FourierFT":
        options["random_loc_seed"] = seed  # which modes it has
    return _CONFIGS[kind](**options)


def adapt(model: nn.Module, backbone: str, method: str, seed: int) -> nn.Module:
    """The network with the method's parameters, and the head, the only ones that train."""
    chosen, head = METHODS[method], HEADS[backbone]
    if chosen.adapters:
        config = _config(chosen.adapters[backbone], seed)
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
