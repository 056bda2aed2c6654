"""The attention's softmax, the pyramid's arguments and ITPN's outputs."""

from __future__ import annotations

import pytest
import torch

from backbones.hivit import ITPN, Pyramid
from backbones.hivit.layers import Attention, chosen


@pytest.mark.parametrize("biased", [False, True])
@torch.no_grad()
def test_softmax_of_half_precision_runs_in_float32(biased):
    """The error is that of rounding the inputs and outputs; a softmax of bfloat16 scores has several times as much."""
    torch.manual_seed(0)
    attention = Attention(64, heads=2).bfloat16()
    torch.nn.init.normal_(attention.qkv.weight, std=0.5)  # large scores
    attention.proj.weight.copy_(torch.eye(64))
    x, bias = torch.randn(2, 100, 64).bfloat16(), torch.randn(2, 100, 100).bfloat16() if biased else None
    q, k, v = attention.qkv(x).unflatten(-1, (3, 2, 32)).permute(2, 0, 3, 1, 4)

    def through(dtype):
        scores = (q.to(dtype) @ k.to(dtype).mT) / 32**0.5
        scores = scores if bias is None else scores + bias.to(dtype)
        return (scores.softmax(-1) @ v.to(dtype)).transpose(1, 2).flatten(2).double()

    exact = through(torch.float64) + attention.proj.bias.double()
    error = (attention(x, bias).double() - exact).norm()
    assert error < 0.3 * (through(torch.bfloat16) + attention.proj.bias.double() - exact).norm()


def test_biases_of_the_places_that_are_kept():
    bias, keep = torch.randn(3, 6, 6), torch.tensor([[5, 0], [2, 2]])
    found = chosen(bias, keep)
    for sample, places in enumerate(keep):
        for i, query in enumerate(places):
            for j, key in enumerate(places):
                assert torch.equal(found[sample, :, i, j], bias[:, query, key])


@torch.no_grad()
def test_levels_of_images_and_of_units():
    torch.manual_seed(0)
    net = ITPN(embed_dim=32, depths=(1, 1, 2), num_heads=2, img_size=64, pyramid_dim=8, pyramid_depth=0).eval()
    images = torch.randn(2, 3, 32, 48)
    levels = net(images)
    assert [tuple(level.shape) for level in levels] == [(2, 8, 8, 12), (2, 8, 4, 6), (2, 8, 2, 3)]
    assert all(level.is_contiguous() for level in levels)
    for level, units in zip(levels, net.unit_levels(net.embed(images), (2, 3)), strict=True):
        p = units.shape[2]
        for n in range(6):
            y, x = divmod(n, 3)
            square = level[:, :, y * p : y * p + p, x * p : x * p + p]
            torch.testing.assert_close(units[:, n].permute(0, 3, 1, 2), square)


@pytest.mark.parametrize("options", [{"pyramid_dim": 0}, {"pyramid_depth": -1}, {"pyramid_dim": 2.0}])
def test_bad_arguments(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be an int of at least"):
        Pyramid(32, **options)
