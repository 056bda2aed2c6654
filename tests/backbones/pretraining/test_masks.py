"""Masks: exact numbers, the same from the same random numbers, and errors before anything runs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from backbones.pretraining import BlockUnits, RandomUnits, hidden_pixels, kept_units, mask_from_keep
from backbones.pretraining.masks import check_mask, unit_grid


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", [RandomUnits, BlockUnits])
@pytest.mark.parametrize("ratio", ["0.25", "0.4", "0.6", "0.75", "0.8", "0.9"])
def test_the_number_of_hidden_units_is_exact(kind, ratio):
    for size in ((96, 96), (80, 64), (224, 224), (48, 160)):
        count = size[0] * size[1] // 256
        seen = int(count * (1 - Fraction(ratio)))  # in exact arithmetic
        mask = kind(16, float(ratio))(5, size, generator=seeded())
        assert mask.shape == (5, size[0] // 16, size[1] // 16) and mask.dtype == torch.bool
        assert (~mask).sum((1, 2)).tolist() == [seen] * 5, (size, ratio)


@pytest.mark.parametrize("kind", [RandomUnits, BlockUnits])
def test_the_same_random_numbers_give_the_same_mask(kind):
    mask = kind(16, 0.6)
    assert torch.equal(mask(4, (96, 96), generator=seeded(3)), mask(4, (96, 96), generator=seeded(3)))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = mask(4, (96, 96))
    assert not torch.equal(first, mask(4, (96, 96)))
    torch.set_rng_state(state)
    assert torch.equal(first, mask(4, (96, 96)))
    before = torch.get_rng_state()
    mask(4, (96, 96), generator=seeded())
    assert torch.equal(before, torch.get_rng_state())


def test_random_units_are_the_first_of_the_stable_argsort():
    keep = RandomUnits(16, 0.75).keep(3, (64, 80), generator=seeded())
    noise = torch.rand(3, 20, generator=seeded()).numpy()
    assert np.array_equal(keep.numpy(), np.argsort(noise, axis=1, kind="stable")[:, :5])
    mask = RandomUnits(16, 0.75)(3, (64, 80), generator=seeded())
    assert torch.equal(mask, mask_from_keep(keep, (3, 4, 5)))
    assert torch.equal(kept_units(mask), keep.sort(1).values)


def test_random_units_are_equally_likely_and_blocks_hang_together():
    often = RandomUnits(16, 0.6)(4000, (64, 64), generator=seeded()).float().mean(0)
    assert (often - 10 / 16).abs().max() < 5 * (0.6 * 0.4 / 4000) ** 0.5
    # Neighbours of hidden units are hidden more often than by chance.
    share = {}
    for kind in (RandomUnits, BlockUnits):
        mask = kind(16, 0.4)(200, (224, 224), generator=seeded())
        share[kind] = float((mask[:, 1:] & mask[:, :-1]).sum() / mask[:, 1:].sum())
    assert abs(share[RandomUnits] - 79 / 196) < 0.02 and share[BlockUnits] > 0.65


def test_one_block_is_a_rectangle_of_the_right_form():
    for seed in range(20):  # a smallest block of all that is to be hidden: one rectangle, cut to the number
        mask = BlockUnits(16, 0.25, smallest=16, aspect=1.0)(1, (128, 128), generator=seeded(seed))[0]
        rows, columns = mask.any(1).sum(), mask.any(0).sum()
        assert (rows, columns) == (4, 4) and mask.sum() == 16


def test_pixels_of_a_mask():
    mask = torch.rand(2, 3, 4, generator=seeded()) > 0.5
    expected = np.kron(mask.numpy(), np.ones((1, 5, 5), bool))[:, None]
    assert np.array_equal(hidden_pixels(mask, 5).numpy(), expected)


def test_an_explicit_keep():
    keep = torch.tensor([[5, 0], [1, 3]])
    mask = mask_from_keep(keep, (2, 2, 3))
    assert [sorted(row) for row in keep.tolist()] == kept_units(mask).tolist()
    assert (~mask[0]).nonzero().tolist() == [[0, 0], [1, 2]] and (~mask[1]).nonzero().tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    "keep, kind, words",
    [
        (torch.tensor([[0, 1]]).int(), TypeError, r"keep must be an int64 tensor of unit indices, got torch\.int32"),
        ([[0, 1]], TypeError, "got list"),
        (torch.tensor([0, 1]), ValueError, r"keep must have shape \(B, K\) with B = 1 and 0 < K < 4 units, got \(2,\)"),
        (torch.tensor([[0], [1]]), ValueError, r"with B = 1 .* got \(2, 1\)"),
        (torch.empty(1, 0).long(), ValueError, r"0 < K < 4 units, got \(1, 0\)"),
        (torch.arange(4)[None], ValueError, r"0 < K < 4 units, got \(1, 4\)"),
        (torch.tensor([[0, 4]]), ValueError, r"indices of 0\.\.3, got 0\.\.4"),
        (torch.tensor([[-1, 2]]), ValueError, r"indices of 0\.\.3, got -1\.\.2"),
        (torch.tensor([[1, 2, 1]]), ValueError, "keep holds unit 1 of image 0 more than once"),
    ],
)
def test_errors_of_keep(keep, kind, words):
    with pytest.raises(kind, match=words):
        mask_from_keep(keep, (1, 2, 2))


@pytest.mark.parametrize(
    "mask, kind, words",
    [
        (torch.ones(2, 2, 2), TypeError, r"mask must be a bool tensor, True where .* hidden, got torch\.float32"),
        (None, TypeError, "got NoneType"),
        (torch.ones(2, 2).bool(), ValueError, r"shape \(B, h, w\) = \(2, 2, 2\) in units, got \(2, 2\)"),
        (torch.tensor([[[0, 1], [1, 1]], [[1, 1], [1, 1]]]).bool(), ValueError, "mask hides all of image 1"),
        (torch.tensor([[[0, 0], [0, 0]], [[1, 1], [1, 0]]]).bool(), ValueError, "mask hides nothing of image 0"),
    ],
)
def test_errors_of_masks(mask, kind, words):
    with pytest.raises(kind, match=words):
        check_mask(mask, (2, 2, 2))


def test_errors_of_arguments():
    for unit, ratio in ((0, 0.5), (1.5, 0.5), (16, 0), (16, 1.0), (16, "0.5"), (True, 0.5)):
        with pytest.raises(ValueError, match=r"unit must be a positive int and ratio in \(0, 1\)"):
            RandomUnits(unit, ratio)
    for options in ({"smallest": 0}, {"aspect": 0}, {"aspect": 1.5}):
        with pytest.raises(ValueError, match=r"smallest must be a positive int and aspect in \(0, 1\]"):
            BlockUnits(**options)
    for size in ((96, 100), (0, 16)):
        with pytest.raises(ValueError, match=rf"multiples of the unit of 16 px, got {size[0]} x {size[1]} px"):
            RandomUnits(16)(1, size)
    assert unit_grid((32, 48), 16) == (2, 3)
    with pytest.raises(ValueError, match=r"ratio 0\.9 of 4 units of 16 px hides 4 of them"):
        RandomUnits(16, 0.9)(1, (32, 32))
    with pytest.raises(ValueError, match=r"must show as many units of each image, got 1 to 2"):
        kept_units(torch.tensor([[[True, False]], [[False, False]]]))
