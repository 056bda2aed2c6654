"""What the operators of a network have learned: diffusivities, dampings, speeds, screenings, routes and gates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapters.unit import MoPPAUnit
from spectral_ops import SpectralOperator
from spectral_ops.holder import PerAxis


@dataclass(frozen=True)
class LearnedQuantity:
    """A quantity of one operator, over all its modes and channels, and over images where it depends on them.

    Attributes:
        layer: Path of the operator, or of the adapter's unit, in the network.
        operator: Its class, such as ``"Heat"``.
        name: Such as ``"diffusivity"``, or ``"diffusivity[0]"`` of the first axis; of routes ``"weights: Heat"``.
        mean: Over all values.
        low, high: Between which the middle 80 % of the values lie.
        count: How many values there are.
    """

    layer: str
    operator: str
    name: str
    mean: float
    low: float
    high: float
    count: int


@torch.no_grad()
def learned_physics(net: nn.Module, images: Tensor) -> list[LearnedQuantity]:
    """Every quantity that an operator of the network takes from parameters, as it is for these images.

    Args:
        net: With operators of ``spectral_ops`` anywhere inside, adapters' included; in evaluation mode, and not
            ``reparameterize``d: stored gains have no quantities.
        images: ``(B, C, H, W)``, as the network takes them.

    Returns:
        In the order of the network's layers; empty where it has no such operator.
    """
    seen: dict[tuple[str, str], Tensor] = {}
    described = list(_quantities(net))
    with ExitStack() as hooks:
        for layer, _, name, value in described:
            if isinstance(value, nn.Module):
                handle = value.register_forward_hook(lambda *call, key=(layer, name): seen.update({key: call[-1]}))
                hooks.callback(handle.remove)
            else:
                seen[layer, name] = value.detach()
        net(images)
    found = []
    for layer, module, name, _ in described:
        if (layer, name) not in seen:
            continue
        values = seen[layer, name].detach().float().cpu()
        kind = type(module).__name__
        if name == "weights":
            terms = _terms(module)
            found += [_summary(layer, kind, f"weights: {t}", v) for t, v in zip(terms, values, strict=True)]
        else:
            found.append(_summary(layer, kind, name, values))
    return found


def _quantities(net: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Module | Tensor]]:
    """Path, operator or unit, name and value of all that is learned."""
    for path, module in net.named_modules():
        if isinstance(module, MoPPAUnit):  # its mixture is no part of the module tree
            yield path, module, "weights", module.router
            if module.gate is not None:
                yield path, module, "gate", module.gate
        elif isinstance(module, SpectralOperator):
            for name in module._bounds:
                value = getattr(module, name)
                axes = enumerate(value) if isinstance(value, PerAxis) else [(None, value)]
                for axis, each in axes:
                    if isinstance(each, nn.Parameter) or _learned(each):
                        yield path, module, name if axis is None else f"{name}[{axis}]", each


def _learned(value: Any) -> bool:
    """Whether a module has parameters, or takes what others have learned."""
    if not isinstance(value, nn.Module):
        return False
    return next(value.parameters(), None) is not None or getattr(value, "needs_embedding", False)


def _terms(module: Any) -> list[str]:
    """What a mixture's or a unit's weights are of."""
    names = list(module.priors) if isinstance(module, MoPPAUnit) else [type(term).__name__ for term in module.terms]
    return [f"{name} {i}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _summary(layer: str, operator: str, name: str, values: Tensor) -> LearnedQuantity:
    flat = values.double().flatten().numpy()
    low, high = np.quantile(flat, (0.1, 0.9))
    return LearnedQuantity(layer, operator, name, float(flat.mean()), float(low), float(high), flat.size)
