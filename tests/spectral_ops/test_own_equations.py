"""Equations that users write: roots of learned quantities, and results that are none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spectral_ops import Heat, Oscillation, ReactionDiffusion, Relaxation, SpectralOperator, Wave, power


class SquaredWave(Oscillation):
    """The wave equation, its frequency as the root of a learned square."""

    def __init__(self, speed, damping=0.0, root=lambda squared: power(squared, 0.5), **grid):
        super().__init__(1.3, damping, **grid)
        self.add_quantity("speed", speed, minimum=0.0)
        self.root = root

    def frequency(self, eigenvalues, *, speed):
        return self.root(speed.square() * eigenvalues)


class RootRate(Relaxation):
    """Cauchy's process, likewise."""

    def __init__(self, strength, **grid):
        super().__init__(1.3, **grid)
        self.add_quantity("strength", strength, minimum=0.0)

    def rate(self, eigenvalues, *, strength):
        return power(strength.square() * eigenvalues, 0.5)


def learned(value):
    return nn.Parameter(torch.tensor(value, dtype=torch.float64))


@pytest.mark.parametrize("damping", [0.0, 0.4])
def test_the_root_of_a_learned_square_has_the_gradients_of_the_plain_frequency(draw, damping):
    u, v, weight = draw(2, 5, 6), draw(2, 5, 6), draw(2, 5, 6)
    found, expected = SquaredWave(learned(0.8), damping), Wave(learned(0.8), 1.3, damping)
    for operator in (found, expected):
        (operator(u, velocity=v) * weight).sum().backward()
    torch.testing.assert_close(found.speed.grad, expected.speed.grad)
    assert torch.autograd.gradcheck(lambda c: SquaredWave(c, damping)(u), [learned(0.8)])
    broken = SquaredWave(learned(0.8), damping, root=torch.sqrt)
    broken(u).sum().backward()
    assert broken.speed.grad.isnan()  # what power is for


def test_the_same_of_a_rate(draw):
    u = draw(2, 5, 6)
    assert torch.autograd.gradcheck(lambda c: RootRate(c)(u), [learned(0.8)])
    assert torch.autograd.gradgradcheck(lambda c: RootRate(c)(u), [learned(0.8)])


def test_power_takes_floats_and_tensors(draw):
    base = torch.cat([torch.zeros(1), draw(5).exp()])
    for exponent in (0.5, 0.0, 2):
        expected = torch.where(base > 0, base**exponent, 0)
        torch.testing.assert_close(power(base, exponent), expected)
        torch.testing.assert_close(power(base, torch.tensor(float(exponent)).double()), expected)


def equation(base, method, value):
    return type("Mine", (base,), {method: lambda self, eigenvalues: value(eigenvalues)})()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda e: 1j * e, "must be a real floating-point tensor, got dtype torch.complex64"),
        (lambda e: e < 1, "must be a real floating-point tensor, got dtype torch.bool"),
        (lambda e: 0.5, "must be a torch.Tensor, got float"),
    ],
)
@pytest.mark.parametrize(
    ("base", "method"), [(Relaxation, "rate"), (Oscillation, "frequency"), (SpectralOperator, "multiplier")]
)
def test_results_that_are_no_real_tensors(base, method, value, words):
    mine, x = equation(base, method, value), torch.ones(4, 4)
    calls = [lambda: mine(x), lambda: mine.gain((4, 4)), lambda: (0.5 * mine @ Heat())(x)]
    if base is Relaxation:
        calls += [lambda: mine(x, source=x)]
    if base is Oscillation:
        calls += [lambda: mine(x, velocity=x), lambda: mine.step(x, x)]
    for call in calls:
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value) == f"the result of Mine.{method} {words}"


def test_a_damped_frequency_is_checked_too():
    mine = equation(Oscillation, "frequency", lambda e: 1j * e)
    mine.damping = 0.5
    with pytest.raises(TypeError, match=r"the result of Mine.frequency must be a real"):
        mine(torch.ones(4, 4))


def test_a_raw_gain_that_is_complex():
    mine = type("Mine", (SpectralOperator,), {"raw_gain": lambda self, grid: torch.ones(*grid.sizes, 1) * 1j})()
    with pytest.raises(TypeError, match=r"the result of Mine.raw_gain must be a real"):
        mine.gain((4, 4))


class Decay(Relaxation):
    """u_t = -r u + f, alike in every mode."""

    def __init__(self, reaction, **grid):
        super().__init__(1.3, **grid)
        self.add_quantity("reaction", reaction, minimum=0.0)

    def rate(self, eigenvalues, *, reaction):
        return reaction


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
@pytest.mark.parametrize("dims", [(-2, -1), (1, 2)])
def test_a_rate_that_no_mode_changes(channels, dims, draw):
    reaction, x, f = draw(*channels).exp(), draw(3, 3, 3), draw(3, 3, 3)
    found, expected = Decay(reaction, dims=dims), ReactionDiffusion(0.0, reaction, 1.3, dims=dims)
    torch.testing.assert_close(found(x, source=f), expected(x, source=f))
    torch.testing.assert_close((found @ found)(x), (expected @ expected)(x))
    torch.testing.assert_close(found.gain((4, 5)), expected.gain((4, 5)))
