"""Gradients that are not finite, and the statistics that go back."""

import pytest
import torch
from torch import nn

from backbones.training.gradients import NormStatistics, gradients_are_finite, names_of_bad_gradients


def net():
    made = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Embedding(5, 4, sparse=True))
    made[0](torch.randn(2, 3, 4, 4)).sum().backward()
    made[2](torch.tensor([1, 2])).sum().backward()
    return made


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["0.bias", "2.weight"])
def test_one_number_is_enough(bad, where):
    made = net()
    assert gradients_are_finite(made.parameters()) and names_of_bad_gradients(made) == []
    grad = made.get_parameter(where).grad
    (grad._values() if grad.is_sparse else grad).view(-1)[-1] = bad
    assert not gradients_are_finite(made.parameters())
    assert names_of_bad_gradients(made) == [where]


def test_halves_whose_squares_overflow_are_finite():
    p = nn.Parameter(torch.zeros(4, dtype=torch.float16))
    p.grad = torch.full((4,), 6e4, dtype=torch.float16)
    assert gradients_are_finite([p])
    assert gradients_are_finite([nn.Parameter(torch.zeros(2))])  # it has none


def test_statistics_go_back():
    made = nn.Sequential(nn.BatchNorm1d(3), nn.GroupNorm(1, 3), nn.BatchNorm1d(3, track_running_stats=False))
    statistics = NormStatistics(made)
    made(torch.randn(4, 3))
    statistics.keep()
    kept = {name: value.clone() for name, value in made.state_dict().items()}
    made(torch.full((4, 3), float("nan")))
    assert not made[0].running_mean.isfinite().any()
    statistics.restore()
    assert all(torch.equal(value, kept[name]) for name, value in made.state_dict().items())
    assert int(made[0].num_batches_tracked) == 1
