"""Cases that decide by which kernel linears over the channels of maps are computed: alone, and in the whole network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import timm
import torch
from torch import Tensor, nn

from backbones import packed
from benchmarks.case import STAGES, Case, gradients, inference, moved, named, step
from benchmarks.measuring import Run
from spectral_ops import use_kernels
from spectral_ops.linear import call


def shapes() -> Iterator[tuple[int, int, int]]:
    """Side of the map, inputs and outputs of vHeat-T's linears at 224 px: those of the mixer, and both of the MLP."""
    for n, channels in STAGES:
        yield from ((n, channels, channels), (n, channels, 4 * channels), (n, 4 * channels, channels))


def _by(run: Run, convolved: bool) -> Run:
    """A run with linears as convolutions, or as they are."""

    def chosen() -> Tensor | None:
        with use_kernels(convolved=convolved):
            return run()

    return chosen


def _packs(device: torch.device) -> bool:
    return device.type == "cpu" and torch.backends.mkldnn.is_available()


def layer(n: int, inputs: int, outputs: int, batch: int, train: bool = False) -> Case:
    """One linear: by its call, by a convolution, and packed; forward, or forward and backward, which is not packed."""

    def make(device: torch.device) -> tuple[dict[str, Run], Tensor]:
        linear, x = nn.Linear(inputs, outputs), torch.randn(batch, n, n, inputs)
        toward = torch.randn(batch, n, n, outputs)

        def run(linear: nn.Module, x: Tensor, through: Callable[[nn.Module, Tensor], Tensor]) -> Run:
            if not train:
                return inference(lambda: through(linear, x), False, x.device)
            leaves = [x.requires_grad_(), *linear.parameters()]
            return lambda: gradients(lambda: through(linear, x), leaves, toward.to(x))

        def plain(linear: nn.Module, x: Tensor) -> Tensor:
            return linear(x)

        exact = run(copy.deepcopy(linear).double(), x.double(), plain)()
        linear, x = linear.to(device), x.to(device)
        runs = {"nn.Linear": run(linear, x, plain), "ours, convolved": _by(run(linear, x, call), True)}
        if not train and _packs(device):
            fast = packed(nn.Sequential(linear).eval(), x)
            runs["ours, packed"] = run(fast, x, plain)
        return runs, exact

    return Case(f"{named(n, inputs, batch)}, to {outputs}", make, ("nn.Linear", "ours, convolved", "ours, packed"))


def network(batch: int, train: bool = False) -> Case:
    """vHeat-T at 224 px with either kind of linears, and packed; inference with stored gains, or a training step."""

    def make(device: torch.device) -> tuple[dict[str, Run], None]:
        net = moved(timm.create_model("vheat_tiny")).train(train).to(device)
        x = torch.randn(batch, 3, 224, 224, device=device)
        if train:
            run = step(net, x, False)
        else:
            net.reparameterize([224])
            run = inference(lambda: net(x), False, device)
        runs = {"ours, plain linears": _by(run, False), "ours, convolved": _by(run, True)}
        if not train and _packs(device):
            fast = packed(net, x)
            runs["ours, packed"] = inference(lambda: fast(x), False, device)
        return runs, None

    return Case(f"vHeat-T, 224 px, batch {batch}", make, memory=True)
