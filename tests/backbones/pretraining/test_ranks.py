"""The participation ratio, by known answers and by the eigenvalues themselves."""

import pytest
import torch

from backbones.pretraining import effective_rank


def test_white_noise_has_all_directions_and_one_direction_is_one():
    torch.manual_seed(0)
    assert effective_rank(torch.randn(64, 8, 30, 30)) == pytest.approx(8, rel=1e-2)
    one = torch.randn(8, 1, 1) * torch.randn(4, 1, 5, 6)
    assert effective_rank(one) == pytest.approx(1, rel=1e-5)
    two = torch.zeros(4, 3, 2, 2)
    two[0, 0], two[1, 0], two[2, 1], two[3, 1] = 1, -1, 1, -1  # two directions of equal strength
    assert effective_rank(two) == pytest.approx(2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_is_that_of_the_eigenvalues_whatever_mean_and_scale(dtype):
    torch.manual_seed(0)
    maps = (torch.randn(3, 5, 7, 9) * torch.tensor([1.0, 2.0, 3.0, 0.1, 0.0]).reshape(5, 1, 1)).to(dtype)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(maps.double().movedim(1, 0).flatten(1)))
    expected = eigenvalues.sum().square() / eigenvalues.square().sum()
    found = effective_rank(maps)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0)
    if dtype in (torch.float32, torch.float64):
        moved = maps * 1e12 + torch.linspace(-1e12, 1e12, 5, dtype=dtype).reshape(5, 1, 1)
        torch.testing.assert_close(effective_rank(moved), found, rtol=1e-4, atol=0)


@pytest.mark.parametrize("maps", [torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.1), torch.ones(1, 3, 1, 1)])
def test_nothing_varies(maps):
    assert effective_rank(maps) == 0
