"""Print the table of all models: parameters and multiply-accumulates, as trained and with precomputed gains.

    python tools/model_table.py

Multiply-accumulates are torch's count of one 224 px image: convolutions, linear layers and the products of the cosine
transforms, and as trained also the layers that predict diffusivities; norms and gains are not counted.
"""

from __future__ import annotations

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import backbones

IMAGE = 224


def count(net: torch.nn.Module) -> tuple[int, int]:
    """Numbers of the state dict that are learned or stored gains, and multiply-accumulates of one image."""
    numbers = sum(t.numel() for t in net.state_dict().values())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, IMAGE, IMAGE))
    return numbers, counter.get_total_flops() // 2


def row(name: str) -> str:
    """One line of the table."""
    net = timm.create_model(name).eval()
    cells = [f"`{name}`", *formatted(*count(net))]
    try:
        net.reparameterize([IMAGE], keep_source=False)
        cells += formatted(*count(net))
    except ValueError:  # the gain depends on the input
        cells += ["-", "-"]
    return f"| {' | '.join(cells)} |"


def formatted(numbers: int, macs: int) -> tuple[str, str]:
    return f"{numbers:,}", f"{macs / 1e9:.3f}"


def main() -> None:
    print("| | parameters | GMACs | with precomputed gains | GMACs |\n|---|---|---|---|---|")
    for family in backbones.FAMILIES:
        for arch in backbones.ARCHS:
            print(row(f"{family}_{arch}"), flush=True)


if __name__ == "__main__":
    main()
