"""HiViT's network: the published counts, units that stay apart, sizes of all kinds, bad arguments."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from backbones.hivit import HIVIT_ARCHS, HiViT, Pyramid

SMALL = {"embed_dim": 32, "depths": (1, 2, 2), "num_heads": 2}


def counted(*modules: torch.nn.Module) -> tuple[int, int]:
    return sum(p.numel() for m in modules for p in m.parameters()), sum(len(m.state_dict()) for m in modules)


@pytest.mark.parametrize(
    ("name", "size", "parameters"),
    [
        ("hivit_base", 224, 78_557_992),  # exactly as published
        ("hivit_large", 224, 288_493_576),  # 288.5 M
        ("fastitpn_tiny", 224, 24_219_976),  # 24.2 M
        ("fastitpn_small", 224, 39_902_920),  # 39.9 M
        ("fastitpn_base", 224, 84_825_192),  # 84.8 M
        ("fastitpn_large", 256, 312_063_400),  # 312.1 M, at the size that its work was published for
    ],
)
def test_published_counts(name, size, parameters):
    net = HiViT(**HIVIT_ARCHS[name], relative_bias=name.startswith("hivit"), img_size=size, device="meta")
    assert counted(net)[0] == parameters


def test_counts_of_the_published_detector():
    net, pyramid = HiViT(**HIVIT_ARCHS["hivit_base"], device="meta"), Pyramid(512).to("meta")
    net.prune_intermediate_layers([0, 1, 2])
    assert counted(net, pyramid) == (81_552_000, 375)


@pytest.mark.parametrize(
    ("name", "size", "gmacs"),
    [
        ("hivit_base", 224, 17.8),
        ("hivit_large", 224, 61.1),
        ("fastitpn_tiny", 224, 5.3),
        ("fastitpn_small", 224, 8.9),
        ("fastitpn_base", 224, 19.05),  # published: 19.1
        ("fastitpn_large", 256, 86.8),
    ],
)
@torch.no_grad()
def test_published_work(name, size, gmacs):
    net = HiViT(**HIVIT_ARCHS[name], img_size=size, device="meta")
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, size, size, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, abs=0.05)


@pytest.mark.parametrize("form", ["hivit", "fast"])
@torch.no_grad()
def test_units_left_out_or_in_another_order_change_nothing(form, randomise):
    net = randomise(HiViT(**SMALL, form=form).double()).eval()
    pyramid = randomise(Pyramid(32, 8, 2).double(), 1)
    images = torch.randn(2, 3, 48, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    units = net.embed(images)
    every = *net.local_stages(units), *pyramid(*net.local_stages(units))
    for chosen in (torch.randperm(12, generator=torch.Generator().manual_seed(3)), torch.tensor([7, 0, 4])):
        levels = net.local_stages(units[:, chosen])
        for found, whole in zip((*levels, *pyramid(*levels)), every, strict=True):
            torch.testing.assert_close(found, whole[:, chosen], rtol=1e-12, atol=1e-12)
        poisoned = torch.full_like(units, torch.nan)
        poisoned[:, chosen] = units[:, chosen]
        for found, whole in zip(net.local_stages(poisoned), every, strict=False):
            assert torch.equal(found[:, chosen], whole[:, chosen])
