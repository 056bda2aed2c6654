"""What an agent's choices may cost at most, known before anything is sampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from backbones.search.parameters import plain

__all__ = ["Infeasible", "Limit", "network_macs", "network_parameters"]


class Infeasible(ValueError):
    """What was given costs more than a limit allows, or nothing costs as little."""


@dataclass(frozen=True)
class Limit:
    """A limit on what an agent chooses, such as multiply-accumulates of an architecture.

    Args:
        cost: From the values of the agent's parameters, a dict in which inactive ones are absent, to a number. It is
            called once for every combination, when the space is made, and must depend on nothing else.
        at_most: The largest cost that is allowed.
        of: What is limited, for messages.
        at_least: The smallest cost that is allowed; none by default.

    Raises:
        TypeError: ``cost`` is no function.
        ValueError: A limit is not a number, or the smallest cost is above the largest.

    Example:
        >>> Limit(lambda values: values["width"] ** 2, at_most=1000, of="parameters").allows({"width": 31})
        True
    """

    cost: Callable[[dict[str, Any]], float]
    at_most: float
    of: str = "cost"
    at_least: float = -math.inf

    def __post_init__(self) -> None:
        if not callable(self.cost):
            raise TypeError(f"cost must be a function of the agent's values, got {self.cost!r}")
        for name in ("at_most", "at_least"):
            if not _is_number(given := plain(getattr(self, name))):
                raise ValueError(f"{name} must be a number, got {given!r}")
            object.__setattr__(self, name, given)
        if self.at_least > self.at_most:
            raise ValueError(f"at_least must not be above at_most, got {self.at_least!r} and {self.at_most!r}")

    @property
    def bounds(self) -> str:
        """What is allowed, in words."""
        if self.at_least == -math.inf:
            return f"at most {self.at_most:,}"
        return f"at least {self.at_least:,}" if self.at_most == math.inf else f"{self.at_least:,} to {self.at_most:,}"

    def of_values(self, values: Mapping[str, Any]) -> float:
        """What these values cost.

        Raises:
            ValueError: The cost function returned no number.
        """
        cost = plain(self.cost(dict(values)))
        if not _is_number(cost):
            raise ValueError(f"the cost function of the limit on {self.of} returned {cost!r} for {dict(values)}")
        return cost

    def misses(self, cost: float) -> float:
        """By how much a cost is outside of the limit; 0 where it is not."""
        return cost - self.at_most if cost > self.at_most else max(self.at_least - cost, 0)

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Whether these values keep to the limit."""
        return self.at_least <= self.of_values(values) <= self.at_most

    def describe(self) -> dict[str, Any]:
        """What is limited and to what; the function is known by its combinations alone."""
        lowest = {} if self.at_least == -math.inf else {"at_least": self.at_least}
        return {"of": self.of, "at_most": self.at_most, **lowest}


def _is_number(given: Any) -> bool:
    return isinstance(given, (int, float)) and not isinstance(given, bool) and given == given


def network_macs(net: nn.Module, image: tuple[int, int] | int, channels: int = 3) -> int:
    """Multiply-accumulates of a network for one image, counted in its matrix products and convolutions.

    Args:
        net: On the meta device, where nothing is computed.
        image: Size, int or ``(H, W)``.
        channels: Of the image.

    Raises:
        ValueError: The network is on another device.

    Example:
        >>> network_macs(nn.Conv2d(3, 8, 3, padding=1, bias=False, device="meta"), 10)
        21600
    """
    size = (image, image) if isinstance(image, int) else tuple(image)
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.device.type != "meta":
            raise ValueError(f"net must be on the meta device, where nothing is computed, got one on {tensor.device}")
    training = net.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net.eval()(torch.zeros(1, channels, *size, device="meta"))
    finally:
        net.train(training)
    return counter.get_total_flops() // 2


def network_parameters(net: nn.Module) -> int:
    """Number of learned numbers of a network."""
    return sum(p.numel() for p in net.parameters())
