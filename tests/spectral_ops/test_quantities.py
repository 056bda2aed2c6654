"""Quantities that learn: positive by construction, or predicted from a spectral embedding."""

from __future__ import annotations

import math

import pytest
import torch

from spectral_ops import Bounded, FromEmbedding, Grid, Heat, Softmax, Softplus, SoftplusEmbedding


def grid(embedding=None, dtype=torch.float64):
    return Grid((4, 5), dtype, torch.device("cpu"), embedding)


@pytest.mark.parametrize("initial", [1e-6, 0.01, 0.3, 1, 5.0, 30.0, 200.0])
@pytest.mark.parametrize("shape", [(), (3,), (4, 5, 3)])
def test_softplus_starts_at_its_initial_value(initial, shape):
    quantity = Softplus(initial, shape)
    torch.testing.assert_close(quantity(grid()), torch.full(shape, float(initial)).double(), rtol=1e-5, atol=0)
    assert quantity.raw.shape == shape and quantity.raw.dtype == torch.float32
    assert repr(quantity) == f"Softplus(shape={shape})"


def test_softplus_stays_positive_whatever_training_does():
    quantity = Softplus(0.3, (1000,))
    torch.nn.init.normal_(quantity.raw, std=30.0)
    assert (quantity(grid()) >= 0).all() and (quantity(grid()) > 0).float().mean() > 0.99
    assert torch.isfinite(Heat(quantity).gain((4, 5))).all()


def test_softplus_learns(draw):
    """Recover the diffusivity of each channel from input and output."""
    x, truth = draw(4, 3, 6, 7), torch.tensor([0.05, 0.4, 1.5]).double()
    target, heat = Heat(truth)(x), Heat(Softplus(0.3, (3,))).double()
    optimizer = torch.optim.LBFGS(heat.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = (heat(x) - target).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(heat.diffusivity(grid()), truth, rtol=1e-3, atol=0)


def test_from_embedding_is_a_linear_map_and_relu(draw):
    quantity, embedding = FromEmbedding(3).double(), draw(4, 5, 3)
    weight, bias = quantity.linear.weight, quantity.linear.bias
    expected = (torch.einsum("hwc,dc->hwd", embedding, weight) + bias).clamp(min=0)
    torch.testing.assert_close(quantity(grid(embedding)), expected)
    assert (expected == 0).any() and (expected > 0).any()
    heat, x = Heat(quantity), draw(2, 3, 4, 5)
    torch.testing.assert_close(heat(x, embedding=embedding), Heat(expected.detach())(x))
    assert heat.gain((4, 5), embedding=embedding).shape == (4, 5, 3)


def test_softplus_embedding_is_the_embedding_kept_positive(draw):
    quantity, embedding = SoftplusEmbedding(), 40 * draw(4, 5, 3)
    expected = torch.log1p(torch.exp(-embedding.abs())) + embedding.clamp(min=0)
    torch.testing.assert_close(quantity(grid(embedding)), expected)
    assert (expected < 1e-6).any() and not list(quantity.parameters())
    x = draw(2, 3, 4, 5)
    torch.testing.assert_close(Heat(quantity)(x, embedding=embedding), Heat(expected)(x))
    assert quantity(grid(embedding.bfloat16(), torch.float32)).dtype == torch.float32


@pytest.mark.parametrize(
    "make", [lambda: Softplus(0.3, (3,)), lambda: Bounded(0.7, 0.2, 1.0), lambda: Softmax(2, (3,))]
)
def test_reset_gives_the_initial_value(make):
    quantity = make()
    (raw,) = quantity.parameters()
    expected = raw.detach().clone()
    torch.nn.init.constant_(raw, math.nan)
    quantity.reset_parameters()
    assert torch.equal(raw, expected) and raw.requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_from_embedding_computes_in_the_dtype_of_the_grid(dtype, draw):
    quantity, embedding = FromEmbedding(3).to(dtype), draw(4, 5, 3, dtype=dtype)
    assert quantity(grid(embedding)).dtype == torch.float64
    assert quantity(grid(embedding, torch.float32)).dtype == torch.float32
    x = draw(2, 3, 4, 5, dtype=dtype)
    assert Heat(quantity)(x, embedding=embedding).dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        exact = Heat(quantity).gain((4, 5), embedding=embedding)
    assert torch.equal(exact, Heat(quantity).gain((4, 5), embedding=embedding))


def test_gradients(draw):
    heat, softplus = Heat(FromEmbedding(2).double()), Heat(Softplus(0.3, (2,)).double())
    x, embedding = draw(1, 2, 2, 3).requires_grad_(), draw(2, 3, 2).requires_grad_()
    parameters = list(heat.parameters())
    assert torch.autograd.gradcheck(lambda x, e, *_: heat(x, embedding=e), (x, embedding, *parameters))
    assert torch.autograd.gradcheck(lambda x, *_: softplus(x), (x, *softplus.parameters()))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Softplus(0.0), ValueError, "initial must be > 0, got 0"),
        (lambda: Softplus(-1.0), ValueError, "initial must be > 0, got -1"),
        (lambda: Softplus(math.inf), ValueError, "initial must be finite, got inf"),
        (
            lambda: Heat(FromEmbedding(3))(torch.ones(2, 3, 4, 5)),
            ValueError,
            r"call it as operator\(x, embedding=...\)",
        ),
        (
            lambda: Heat(SoftplusEmbedding())(torch.ones(2, 3, 4, 5)),
            ValueError,
            r"call it as operator\(x, embedding=...\)",
        ),
        (
            lambda: Heat(FromEmbedding(3))(torch.ones(2, 3, 4, 5), embedding=torch.ones(4, 5, 2)),
            ValueError,
            r"embedding must have 3 channels, got shape \(4, 5, 2\)",
        ),
        (
            lambda: Heat(FromEmbedding(3))(torch.ones(2, 3, 4, 5), embedding=torch.ones(5, 4, 3)),
            ValueError,
            r"embedding must have shape \(\*\(4, 5\), C\), got \(5, 4, 3\)",
        ),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
