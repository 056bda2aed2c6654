"""What a case is: contenders that do the same work on the same input, ours first.

Networks that restate ours have its weights, so that their errors against float64 mean something; peers from timm are
fresh. Every parameter of ours is moved off its start, where gains are almost 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchmarks.measuring import Run

#: Cells per side and channels of the four stages of vHeat-T at 224 px.
STAGES = ((56, 96), (28, 192), (14, 384), (7, 768))


@dataclass(frozen=True)
class Absent:
    """In the place of a contender that cannot run here.

    Attributes:
        reason: Why, in a few words.
    """

    reason: str


#: What stands in the way of a contender, or the contender.
Contenders = dict[str, Run | Absent]


@dataclass(frozen=True)
class Case:
    """Contenders that do the same work.

    Attributes:
        name: Within its group, with sizes.
        make: Makes the contenders, ours first, and where there is one the exact result in float64, of all of them or of
            each by its name.
        compared: Contenders whose results must be the exact one.
        memory: Whether peak memory is measured too.
        pixels: Pixels of the image side where cases of a group form a series, for plots.
        rounds: At most this many samples of each contender, for cases that take minutes.
    """

    name: str
    make: Callable[[torch.device], tuple[Contenders, Tensor | dict[str, Tensor] | None]]
    compared: tuple[str, ...] = ()
    memory: bool = False
    pixels: int | None = None
    rounds: int | None = None


@dataclass
class Group:
    """Cases whose figures share a table.

    Attributes:
        title: Of the table.
        cases: Its rows.
        matrix: Whether contenders are called ``"network, runtime"``, and each case is a table of both.
        on_request: Whether it is measured only where it is named, because it takes long.
    """

    title: str
    cases: list[Case] = field(default_factory=list)
    matrix: bool = False
    on_request: bool = False


def moved(model: nn.Module, size: float = 0.02) -> nn.Module:
    """The model with noise on every parameter, the same each time."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return model


def named(n: int, channels: int, batch: int, bf16: bool = False) -> str:
    """The name of a case on square maps."""
    return f"{n} x {n} x {channels}, batch {batch}" + (", bfloat16" if bf16 else "")


def gradients(run: Run, leaves: list[Tensor], toward: Tensor) -> Tensor:
    """The gradients of a run's result at the leaves, flattened."""
    for leaf in leaves:
        leaf.grad = None
    run().backward(toward)
    return torch.cat([leaf.grad.flatten() for leaf in leaves])


def inference(run: Run, amp: bool, device: torch.device) -> Run:
    """A run without gradients, under bfloat16 autocast with ``amp``."""

    def guarded() -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=amp):
            return run()

    return guarded


def step(model: nn.Module, x: Tensor, amp: bool, *extra: Tensor, **maps: Tensor) -> Run:
    """Forward, backward; no optimiser."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def run() -> None:
        for parameter in parameters:
            parameter.grad = None
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            y = model(x, *extra, **maps)
        y.float().square().mean().backward()

    return run
