"""Grids hand the input's mean to whom asks for it, and to nobody else."""

from __future__ import annotations

import torch
from torch import nn

from spectral_ops import Grid, Heat, InputRouter, Mixture

CPU = torch.device("cpu")


def test_the_mean_is_made_where_it_is_read():
    calls = []
    grid = Grid((4, 6), torch.float32, CPU, pooled=lambda: calls.append(1) or torch.zeros(3))
    assert not calls and torch.equal(grid.pooled, torch.zeros(3)) and calls == [1]
    assert Grid((4, 6), torch.float32, CPU).pooled is None
    assert repr(grid) == "Grid(sizes=(4, 6), dtype=torch.float32, device='cpu')"
    assert grid.with_pooled(lambda: torch.ones(3)).pooled.sum() == 3 and grid.sizes == (4, 6)


class Watching(nn.Module):
    """A constant that looks at the mean; it does not say that it needs the input."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, grid):
        with torch.no_grad():
            self.seen.append(grid.pooled)
        return torch.ones((), dtype=grid.dtype)


def test_who_does_not_say_that_he_needs_the_input_does_not_see_it(draw):
    watching = Watching()
    Heat(watching)(draw(2, 3, 4, 5))
    assert watching.seen == [None]


def test_readers_without_gradients_leave_those_of_others_alone(draw):
    def make():
        torch.manual_seed(0)
        router = InputRouter(3, 2).double()
        watching = Watching()
        return Mixture([Heat(watching), Heat(0.3)], weights=router), Mixture([Heat(1.0), Heat(0.3)], weights=router)

    watched, plain = make()
    x = draw(2, 3, 4, 5).requires_grad_()
    found, expected = (torch.autograd.grad(operator(x).square().sum(), x)[0] for operator in (watched, plain))
    torch.testing.assert_close(found, expected)
    assert watched.terms[0].diffusivity.seen[0] is not None


def test_a_mean_given_to_the_call(draw):
    operator = Mixture([Heat(0.1), Heat(1.0)], weights=InputRouter(3, 2, reduction=1).double())
    for parameter in operator.parameters():
        nn.init.uniform_(parameter, 0.5, 1.0)
    x = draw(2, 3, 4, 5)
    mean = x.mean((2, 3))
    torch.testing.assert_close(operator(x, pooled=mean), operator(x))
    assert not torch.allclose(operator(x, pooled=lambda: mean + 1), operator(x))
