"""What each stage of a backbone costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

#: Containers whose members are stages of their own.
_CONTAINERS = ("stages", "layers", "blocks")


@dataclass(frozen=True)
class Cost:
    """Of a part of a network for one image.

    Attributes:
        part: Path of the module; ``"rest"`` is what no part holds, ``"total"`` the whole.
        macs: Multiply-accumulates.
        parameters: Numbers of the part, trained or not.
        trained: Numbers of the part that train.
    """

    part: str
    macs: float
    parameters: int
    trained: int


@torch.no_grad()
def stage_costs(net: nn.Module, size: int | Sequence[int], channels: int = 3) -> list[Cost]:
    """Multiply-accumulates and parameters by stage, then the rest, then the total.

    Matrix products and convolutions count, attention as the two products that it is. Cosine transforms count where they
    run as products with a basis, not where they run as fast Fourier transforms, which torch's counter does not know.

    Args:
        net: A backbone; its stages are its children, and the members of those called stages, layers or blocks.
        size: Of the image, one int or ``(H, W)``.
        channels: Of the image.
    """
    height, width = (size, size) if isinstance(size, int) else size
    first = next(net.parameters(), torch.zeros(()))
    image = torch.zeros(1, channels, height, width, dtype=first.dtype, device=first.device)
    training = net.training
    net.eval()
    # Attention counts as the matrix products it is only where it is not fused.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(image)
    net.train(training)
    flops = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
    root = type(net).__name__
    found = [Cost(name, flops.get(f"{root}.{name}", 0) / 2, *_numbers(part)) for name, part in _parts(net)]
    total = Cost("total", counter.get_total_flops() / 2, *_numbers(net))
    left = (getattr(total, name) - sum(getattr(c, name) for c in found) for name in ("macs", "parameters", "trained"))
    return [*found, Cost("rest", *left), total]


def _parts(net: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Stages by their paths; what wraps one single child is opened, too. What has no parameters is left out."""
    children = [(name, child) for name, child in net.named_children() if next(child.parameters(), None) is not None]
    if len(children) == 1 and not _is_container(*children[0]):
        name, child = children[0]
        return _parts(child, f"{prefix}{name}.")
    found = []
    for name, child in children:
        if _is_container(name, child):
            found += [(f"{prefix}{name}.{member}", module) for member, module in child.named_children()]
        else:
            found.append((f"{prefix}{name}", child))
    return found


def _is_container(name: str, module: nn.Module) -> bool:
    return name in _CONTAINERS and isinstance(module, (nn.Sequential, nn.ModuleList))


def _numbers(module: nn.Module) -> tuple[int, int]:
    parameters = list(module.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
