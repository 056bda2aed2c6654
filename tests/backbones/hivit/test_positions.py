"""Tables by position: resized as torch's interpolation does, exact on their own grid, indexed by the formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from backbones.hivit.positions import PositionTable, RelativeBias, resize_table, sine_cosine


@pytest.mark.parametrize("sizes", [(20, 33), (14, 15), (7, 9), (3, 40), (1, 1), (14, 9)])
@pytest.mark.parametrize(("extra", "dtype"), [(0.1, torch.float64), (0.0, torch.float64), (0.1, torch.float32)])
def test_resizing_is_interpolation_with_a_scale_factor(sizes, extra, dtype):
    table = torch.randn(14, 9, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))
    factors = [(n + extra) / side for n, side in zip(sizes, table.shape, strict=False)]
    image = table.permute(2, 0, 1)[None]
    where = {"scale_factor": factors} if extra else {"size": sizes}
    expected = F.interpolate(image, mode="bicubic", align_corners=False, **where)[0].permute(1, 2, 0)
    expected = table if sizes == (14, 9) else expected
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    found = resize_table(table, sizes, extra)
    assert found.dtype == dtype and found.shape == (*sizes, 5)
    torch.testing.assert_close(found, expected, **tolerance)


def test_a_graph_gives_the_table_itself_on_its_own_grid():
    table = torch.randn(14, 9, 5, generator=torch.Generator().manual_seed(0))
    dynamic = torch.export.Dim.DYNAMIC

    class Resized(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", table)

        def forward(self, x):
            return resize_table(self.table, x.shape, 0.1)

    program = torch.export.export(Resized(), (torch.zeros(20, 5),), dynamic_shapes=({0: dynamic, 1: dynamic},))
    assert torch.equal(program.module()(torch.zeros(14, 9)), table)
    torch.testing.assert_close(program.module()(torch.zeros(14, 10)), resize_table(table, (14, 10), 0.1))


def test_half_tables_and_autocast_are_resized_in_float32():
    table = torch.randn(14, 14, 8, generator=torch.Generator().manual_seed(0))
    exact = resize_table(table, (20, 20), 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(resize_table(table, (20, 20), 0.1), exact)
    half = resize_table(table.bfloat16(), (20, 20), 0.1)
    assert torch.equal(half, resize_table(table.bfloat16().float(), (20, 20), 0.1).bfloat16())


def test_positions_are_row_by_row_and_trained():
    table = PositionTable((3, 2), 4)
    assert torch.equal(table(3, 2)[0], table.weight.reshape(6, 4))
    table(5, 7).square().sum().backward()
    assert table.weight.grad.abs().min() > 0


@pytest.mark.parametrize("grid", [(3, 4), (5, 2)])
def test_relative_biases_pair_by_pair(grid):
    bias = RelativeBias((3, 4), heads=2).double()
    assert not bias(*grid).any()  # at first
    torch.nn.init.normal_(bias.table)
    h, w = grid
    image = bias.table.reshape(1, 5, 7, 2).permute(0, 3, 1, 2)
    table = F.interpolate(image, size=(2 * h - 1, 2 * w - 1), mode="bicubic", align_corners=False)[0].flatten(1)
    table = bias.table.T if grid == (3, 4) else table
    found = bias(h, w)
    for q in range(h * w):
        for k in range(h * w):
            (qy, qx), (ky, kx) = divmod(q, w), divmod(k, w)
            expected = table[:, (qy - ky + h - 1) * (2 * w - 1) + (qx - kx + w - 1)]
            torch.testing.assert_close(found[:, q, k], expected, rtol=1e-9, atol=1e-9)


def test_sines_and_cosines_by_hand():
    table = sine_cosine((4, 5), 8, torch.float64)
    for y in range(4):
        for x in range(5):
            angles = [position / 10000 ** (k / 2) for position in (x, y) for k in range(2)]
            expected = [*map(math.sin, angles[:2]), *map(math.cos, angles[:2])]
            expected += [*map(math.sin, angles[2:]), *map(math.cos, angles[2:])]
            torch.testing.assert_close(table[y, x], torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(PositionTable((4, 5), 8, "sincos").weight, table.float())
    with pytest.raises(ValueError, match=r"channels must be a multiple of 4 .* got 6"):
        sine_cosine((2, 2), 6)
