"""Learnable and input-conditioned weights: range, reference, one transform pair, what they refuse."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from spectral_ops import (
    Bounded,
    FractionalHeat,
    Grid,
    Heat,
    InputRouter,
    Mixture,
    Poisson,
    Softmax,
    SpectralOperator,
    Wave,
)

GRID = Grid((4, 5), torch.float64, torch.device("cpu"))


def tail_prop(channels=6, **options) -> Mixture:
    torch.manual_seed(3)
    router = InputRouter(channels, 2, reduction=2, **options).double()
    for parameter in router.parameters():
        nn.init.normal_(parameter)
    return Mixture([Heat(0.5), FractionalHeat(0.8, order=0.5)], weights=router)


@pytest.mark.parametrize("dims", [(-2, -1), (1, 2)])
def test_an_input_conditioned_gate_is_what_it_says(dims, draw):
    """g = sigmoid(MLP(mean of x)); g * heat(x) + (1 - g) * cauchy(x), per sample and channel."""
    mixture = tail_prop()
    router = mixture.weights
    x = draw(3, 6, 9, 8)
    pooled = x.mean((2, 3))
    hidden = (pooled @ router.hidden.weight.T + router.hidden.bias).clamp(min=0)
    gate = torch.sigmoid(hidden @ router.output.weight.T + router.output.bias)[:, :, None, None]
    expected = gate * Heat(0.5)(x) + (1 - gate) * FractionalHeat(0.8, order=0.5)(x)
    assert gate.std() > 0.1
    if dims == (1, 2):
        on_last = Mixture([Heat(0.5, dims=dims), FractionalHeat(0.8, order=0.5, dims=dims)], weights=router)
        found = on_last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    else:
        found = mixture(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(mixture(x[:1]), expected[:1])  # samples do not see each other
    torch.testing.assert_close(mixture(x[0]), expected[0])  # nor do they need a batch dimension


def test_one_weight_for_all_channels(draw):
    mixture, x = tail_prop(per_channel=False), draw(3, 6, 9, 8)
    gain = mixture.gain((9, 8), pooled=x.mean((2, 3)), dtype=torch.float64)
    assert gain.shape == (3, 9, 8, 1)
    ratio = (mixture(x) - FractionalHeat(0.8, order=0.5)(x)) / (Heat(0.5)(x) - FractionalHeat(0.8, order=0.5)(x))
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio), rtol=1e-6, atol=1e-6)


def test_extra_dimensions_share_the_batchs_weights(draw):
    mixture, x = tail_prop(), draw(2, 3, 6, 9, 8)  # (batch, frames, channels, H, W)
    gain = mixture.gain((9, 8), pooled=x.mean((1, 3, 4)), dtype=torch.float64)
    assert gain.shape == (2, 9, 8, 6)
    found = torch.stack([mixture(f) for f in x.unbind(1)], 1)
    assert mixture(x).shape == x.shape and not torch.allclose(mixture(x), found)


def test_one_transform_pair_and_gradients(draw, count_products):
    mixture, x = tail_prop(), draw(2, 6, 5, 4)
    assert count_products(lambda: mixture(x)) == 4 + 2  # two layers of the router
    inside = 0.5 * (mixture @ Wave(1.0, 2.0)) + Poisson(0.5)
    assert count_products(lambda: inside(x)) == 4 + 2
    x = draw(2, 6, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(inside, x)
    inside(x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in mixture.weights.parameters())


def test_it_saves_copies_traces_and_runs_in_bfloat16(draw):
    mixture, x = tail_prop().float(), draw(2, 6, 9, 8, dtype=torch.float32)
    again = Mixture([Heat(0.5), FractionalHeat(0.8, order=0.5)], weights=InputRouter(6, 2, reduction=2))
    assert not torch.allclose(again(x), mixture(x))
    again.load_state_dict(mixture.state_dict())
    assert torch.equal(again(x), mixture(x)) and torch.equal(copy.deepcopy(mixture)(x), mixture(x))
    compiled = torch.compile(mixture, fullgraph=True, dynamic=True, backend="aot_eager")
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(mixture, (x,), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},)).module()
    for shape in ((2, 6, 9, 8), (3, 6, 5, 12)):
        x = draw(*shape, dtype=torch.float32)
        torch.testing.assert_close(compiled(x), mixture(x))
        torch.testing.assert_close(program(x), mixture(x))
    half = copy.deepcopy(mixture).bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16 and (half.float() - mixture(x)).norm() < 0.02 * mixture(x).norm()


def test_softmax_weights(draw):
    weights = Softmax(3, (6,), temperature=0.5)
    torch.testing.assert_close(weights(GRID), torch.full((3, 6), 1 / 3, dtype=torch.float64))
    nn.init.normal_(weights.logits)
    torch.testing.assert_close(weights(GRID), torch.softmax(2 * weights.logits.double(), 0))
    x = draw(2, 6, 4, 5)
    mixture = Mixture([Heat(0.3), Wave(1.0, 2.0), Poisson(0.5)], weights=weights)
    w = weights(GRID)[..., None, None]
    torch.testing.assert_close(mixture(x), w[0] * Heat(0.3)(x) + w[1] * Wave(1.0, 2.0)(x) + w[2] * Poisson(0.5)(x))


def test_bounded_quantities():
    order = Bounded(0.7, 0.25, 1.0, (4,))
    torch.testing.assert_close(order(GRID), torch.full((4,), 0.7, dtype=torch.float64), rtol=1e-6, atol=0)
    with torch.no_grad():
        order.raw.copy_(torch.tensor([-1e4, -1.0, 1.0, 1e4]))
    assert order(GRID).min() >= 0.25 and order(GRID).max() <= 1.0
    assert repr(order) == "Bounded(low=0.25, high=1, shape=(4,))"


def test_weights_given_as_floats_are_exact(draw):
    x = draw(4, 5)
    mixture = Mixture([Heat(0.1), Heat(0.2)], [0.1, 0.2])
    torch.testing.assert_close(mixture(x), 0.1 * Heat(0.1)(x) + 0.2 * Heat(0.2)(x), rtol=1e-14, atol=1e-15)
    assert not mixture.state_dict() and repr(mixture).endswith("weights=[0.1, 0.2])")


@pytest.mark.parametrize("inner", [3.0 * Heat(0.3), Poisson(), Wave(1.0, 2.0) + Heat(torch.rand(6))], ids=repr)
def test_in_a_product_the_weights_see_what_reaches_them(inner, draw):
    mixture, x = tail_prop(), draw(3, 6, 9, 8)
    torch.testing.assert_close((mixture @ inner)(x), mixture(inner(x)), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close((inner @ mixture)(x), inner(mixture(x)), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close((mixture @ inner @ mixture)(x), mixture(inner(mixture(x))), rtol=1e-6, atol=1e-6)


def test_behind_cold_walls_only_the_first_one_applied_may_be_conditioned(draw):
    cold = {"boundary": "dirichlet"}
    mixture, x = Mixture([Heat(0.5, **cold), FractionalHeat(0.8, **cold)], weights=InputRouter(6, 2)), draw(3, 6, 9, 8)
    torch.testing.assert_close((Heat(3.0, **cold) @ mixture)(x), Heat(3.0, **cold)(mixture(x)))
    with pytest.raises(ValueError, match="can only be the first one applied"):
        (mixture @ Heat(3.0, **cold))(x)


def test_modules_are_checked_against_the_range_of_a_quantity():
    with pytest.raises(ValueError, match=r"diffusivity must be >= 0, got Bounded\(.*\), which may be -1"):
        Heat(Bounded(-0.5, -1.0, 1.0))
    Heat(Bounded(0.5, 0.0, 1.0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: InputRouter(0, 2), ValueError, "channels and reduction must be >= 1 and count >= 2, got channels=0"),
        (lambda: InputRouter(4, 1), ValueError, "count=1"),
        (lambda: Softmax(0), ValueError, "count must be >= 1, got 0"),
        (lambda: Softmax(2, temperature=0.0), ValueError, "temperature must be > 0, got 0"),
        (lambda: Bounded(0.5, 1.0, 0.0), ValueError, "initial must lie strictly between low=1 and high=0, got 0.5"),
        (lambda: tail_prop().gain((4, 5)), ValueError, "predicted from the input: give gain.. its mean as `pooled`"),
        (lambda: tail_prop()(torch.ones(2, 3, 4, 5)), ValueError, "the input must have 6 channels, got 3"),
        (lambda: tail_prop()(torch.ones(4, 5)), ValueError, "needs a channel dimension, got shape"),
        (lambda: Mixture([Heat(), Heat()], InputRouter(4, 3)), ValueError, "2 entries"),
        (lambda: Mixture([Heat(), Heat()], Softmax(3)), ValueError, "2 entries"),
        (lambda: Mixture([Heat()], [nn.Parameter(torch.ones(()))]), TypeError, "weights must be floats, one tensor"),
        (lambda: Mixture([Heat()], None), TypeError, "weights must be floats, one tensor, .* got None"),
        (lambda: Mixture([Heat()], [float("nan")]), ValueError, "weights must be finite"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


class _Everywhere(SpectralOperator):
    """A gain that is a number, or one for each channel: that of every mode."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def multiplier(self, eigenvalues):
        return self.value


@pytest.mark.parametrize("value", [torch.tensor(2.0), torch.tensor([0.5, 1.0, 2.0, -1.0])])
def test_behind_a_gain_that_is_that_of_every_mode(value):
    mixture = Mixture([Heat(0.5), FractionalHeat(0.8, order=0.5)], weights=InputRouter(4, 2))
    constant, x = _Everywhere(value), torch.randn(3, 4, 6, 5)
    torch.testing.assert_close((mixture @ constant)(x), mixture(constant(x)), rtol=1e-5, atol=1e-5)
