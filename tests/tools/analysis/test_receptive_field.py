"""Fields of linear networks are known."""

import pytest
import torch
from analysis.receptive_field import extents, receptive_field
from mmengine.registry import MODELS
from torch import nn

import backbones.openmmlab  # noqa: F401 (registers)


def box(size, stride=1):
    """Sums the pixels of a square, with weights 1 for one channel and -3 for the other."""
    convolution = nn.Conv2d(2, 1, size, stride, padding=size // 2, bias=False)
    nn.init.ones_(convolution.weight)
    convolution.weight.data[:, 1] = -3
    return convolution


def test_the_field_of_two_convolutions_is_a_pyramid():
    second = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.ones_(second.weight)
    field = receptive_field(nn.Sequential(box(3), second), torch.randn(3, 2, 11, 13), batch=2)
    slope = torch.tensor([0, 0, 0, 1, 2, 3, 2, 1, 0, 0, 0], dtype=torch.float64)
    expected = 2 * slope[:, None] * nn.functional.pad(slope, (1, 1))[None]  # mean of 1 and |-3|
    torch.testing.assert_close(field, expected)


def test_the_last_of_several_maps_counts_and_images_are_averaged():
    class Square(nn.Module):
        def forward(self, x):
            return x, (x**2)[..., 1::2, 1::2]

    images = torch.randn(4, 1, 8, 8)
    field = receptive_field(Square(), images)
    expected = torch.zeros(8, 8, dtype=torch.float64)
    expected[5, 5] = 2 * images[:, 0, 5, 5].abs().double().mean()
    torch.testing.assert_close(field, expected)


def test_normed_channels_have_a_field():
    """Their sum is constant."""
    net = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.GroupNorm(1, 6))
    images = torch.randn(2, 2, 1, 1)
    assert receptive_field(net, images) > 1e-2


def test_extents_of_a_box():
    field = receptive_field(box(5), torch.randn(1, 2, 20, 20))
    found = extents(field, (0.04, 0.36, 0.37, 1.0))
    assert [e.side for e in found.values()] == [1 / 20, 3 / 20, 5 / 20, 5 / 20]
    assert [e.area for e in found.values()] == pytest.approx([1 / 400, 9 / 400, 10 / 400, 25 / 400])


def test_extents_around_the_centre_of_a_coarse_cell():
    net = nn.Conv2d(1, 1, 8, 8, bias=False)  # each cell sees its own 8 x 8 pixels
    nn.init.ones_(net.weight)
    found = extents(receptive_field(net, torch.randn(1, 1, 32, 48)), (0.25, 1.0), stride=8)
    pixels = (32 * 48) ** 0.5
    assert [e.side * pixels for e in found.values()] == pytest.approx([4, 8])


def test_far_pixels():
    field = torch.zeros(9, 15)
    field[0, 0], field[4, 7] = 1, 3
    found = extents(field, (0.75, 0.99))
    assert found[0.75].side == pytest.approx(1 / 135**0.5) and found[0.99].side == 1 and found[0.99].area == 2 / 135


def test_the_field_of_a_backbone_is_everything_where_heat_spreads():
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for diffusivity in (0.0, 20.0):
        torch.manual_seed(0)
        arch = {"dims": (8, 16), "depths": (1, 1)}
        net = MODELS.build({"type": "VHeat", "arch": arch, "out_indices": (0, 1), "diffusivity": diffusivity}).train()
        for p in net.parameters():
            nn.init.normal_(p, std=0.2)
        field = receptive_field(net, images)
        assert field.shape == (64, 64) and net.training and all(p.grad is None for p in net.parameters())
        assert bool(field.min() > 1e-9 * field.max()) == (diffusivity > 0)  # heat reaches everything


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: receptive_field(nn.Identity(), torch.zeros(3, 8, 8)), r"images must be .*, got \(3, 8, 8\)"),
        (lambda: receptive_field(nn.Flatten(), torch.zeros(1, 3, 8, 8)), r"maps .*, its last output is \(1, 192\)"),
        (lambda: receptive_field(lambda x: {"out": x}, torch.zeros(1, 3, 8, 8)), "its last output is dict"),
        (lambda: extents(torch.zeros(4, 4)), "nowhere negative and not zero"),
        (lambda: extents(torch.ones(4, 4), (0.0,)), r"levels must be above 0 and up to 1, got 0\.0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
