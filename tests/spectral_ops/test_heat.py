"""The heat operator: exact solutions, independent solvers, the physics of diffusion."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import scipy.linalg
import torch
from dense_laplacian import stencil

from spectral_ops import Heat

FINITE = {"laplacian": "finite-difference"}


@pytest.mark.parametrize(("n", "m"), [(0, 0), (1, 0), (0, 4), (3, 2), (5, 6)])
@pytest.mark.parametrize(("k", "t"), [(0.3, 1.0), (0.05, 4.0)])
def test_a_cosine_decays_at_its_own_rate(n, m, k, t):
    y, x = (torch.arange(6).double() + 0.5) / 6, (torch.arange(7).double() + 0.5) / 7
    field = torch.outer(torch.cos(math.pi * n * y), torch.cos(math.pi * m * x))
    rate = k * ((math.pi * n / 6) ** 2 + (math.pi * m / 7) ** 2)
    torch.testing.assert_close(Heat(k, t)(field), math.exp(-rate * t) * field, rtol=0, atol=1e-14)


def test_each_channel_diffuses_at_its_own_speed(draw):
    x, k, t = draw(2, 3, 6, 7), draw(3).exp(), draw(3).exp()
    y = Heat(k, t)(x)
    for c in range(3):
        torch.testing.assert_close(y[:, c], Heat(float(k[c]), float(t[c]))(x[:, c]))
    assert not torch.allclose(y[:, 0], Heat(k[1], t[1])(x[:, 0]))


def test_explicit_euler_converges_at_second_order_in_the_step():
    """u_t = k lap u with the step of time tied to that of space: halving h quarters the error."""
    k, t, errors = 0.05, 0.5, []
    for n in (8, 16, 32):
        h = 1 / n
        x = (torch.arange(n).double() + 0.5) * h
        u = torch.outer(torch.exp(-8 * (x - 0.5) ** 2), 1 + x**2 * (3 - 2 * x))  # smooth, flat at the walls or nearly
        exact = Heat(k, t, spacing=h)(u)
        steps = math.ceil(t * k / (0.2 * h * h))
        step = k * t / steps / h**2 * torch.from_numpy(stencil(n))
        for _ in range(steps):
            u = u - step @ u - u @ step
        errors.append((u - exact).abs().max().item())
    ratios = [a / b for a, b in pairwise(errors)]
    assert errors[-1] < 1e-3 and all(3.6 < r < 4.4 for r in ratios), (errors, ratios)


@pytest.mark.parametrize(("height", "width"), [(6, 7), (1, 9), (13, 4)])
def test_the_finite_difference_form_solves_its_ode(height, width, draw):
    k, t, u = 0.7, 1.3, draw(height, width)
    rows, columns = (scipy.linalg.expm(-k * t * stencil(n)) for n in (height, width))
    expected = torch.from_numpy(rows @ u.numpy() @ columns.T)
    torch.testing.assert_close(Heat(k, t, **FINITE)(u), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("laplacian", ["spectral", "finite-difference"])
def test_semigroup_mean_and_symmetry(laplacian, draw):
    x, y, k = draw(2, 3, 9, 8), draw(2, 3, 9, 8), draw(3).exp()
    first, second, both = (Heat(k, t, laplacian=laplacian) for t in (0.4, 1.1, 1.5))
    torch.testing.assert_close(second(first(x)), both(x))
    torch.testing.assert_close((second @ first)(x), both(x))
    torch.testing.assert_close(both(x).mean((-2, -1)), x.mean((-2, -1)))
    torch.testing.assert_close((both(x) * y).sum(), (x * both(y)).sum())


def test_no_new_extrema_on_the_pixel_grid():
    x = torch.zeros(11, 12, dtype=torch.float64)
    x[3, 4], x[0, 11], x[10, 0] = 1.0, -2.0, 3.0  # deltas are the sharpest there is
    for k in (0.01, 0.1, 1.0, 10.0, 1000.0):
        y = Heat(k, **FINITE)(x)
        assert y.max() <= 3 + 1e-13 and y.min() >= -2 - 1e-13
    assert Heat(0.1)(x.clamp(min=0)).min() < -1e-3  # the spectral Laplacian rings, as its documentation says


def test_gain_and_norms_fall_with_time(draw):
    x, times = draw(9, 8), (0.0, 0.1, 0.5, 2.0, 8.0)
    gains = torch.stack([Heat(0.3, t).gain((9, 8), dtype=torch.float64) for t in times])
    assert (gains[:, 0, 0] == 1).all() and (gains.diff(dim=0).flatten(1)[:, 1:] < 0).all() and (gains >= 0).all()
    assert (gains.diff(dim=1)[1:] <= 0).all() and (gains.diff(dim=2)[1:] <= 0).all()
    assert (torch.stack([Heat(0.3, t)(x).norm() for t in times]).diff() < 0).all()


def test_limits(draw):
    x = draw(2, 3, 9, 8)
    mean = x.mean((-2, -1), keepdim=True).expand_as(x)
    torch.testing.assert_close(Heat(0.0)(x), x)
    torch.testing.assert_close(Heat(3.0, 0.0)(x), x)
    torch.testing.assert_close(Heat(1e4)(x), mean)
    huge = Heat(torch.full((3,), 1e30), 1e30)(x.float())  # the product of both is infinite in float32
    torch.testing.assert_close(huge, mean.float())


def test_spacing_scales_the_diffusivity(draw):
    x = draw(9, 8)
    torch.testing.assert_close(Heat(0.3, spacing=2.0)(x), Heat(0.075)(x))


@pytest.mark.parametrize("laplacian", ["spectral", "finite-difference"])
def test_gradients_with_respect_to_everything(laplacian, draw):
    inputs = [v.requires_grad_() for v in (draw(1, 2, 2, 3), draw(2).exp(), draw(2, 3, 2).exp())]
    function = lambda x, k, t: Heat(k, t, laplacian=laplacian)(x)  # noqa: E731
    assert torch.autograd.gradcheck(function, inputs) and torch.autograd.gradgradcheck(function, inputs)


def test_the_exponent_is_not_a_power_of_a_small_number():
    gain = Heat(1e-4).gain((64, 64))  # exp(-lambda) of the last modes underflows where exp(-k lambda) is 0.998
    torch.testing.assert_close(gain, Heat(1e-4).gain((64, 64), dtype=torch.float64).float(), rtol=1e-6, atol=0)
    strong = Heat(500.0).gain((64, 64), dtype=torch.float64)
    assert torch.isfinite(strong).all() and strong[0, 1] == pytest.approx(math.exp(-500 * (math.pi / 64) ** 2))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"diffusivity": -0.1}, ValueError, "diffusivity must be >= 0, got -0.1"),
        ({"time": -1}, ValueError, "time must be >= 0, got -1"),
        ({"time": math.nan}, ValueError, "time must be finite, got nan"),
        ({"diffusivity": torch.tensor([0.1, -2.0])}, ValueError, "diffusivity must be >= 0, got -2"),
        ({"diffusivity": torch.nn.Parameter(-torch.ones(2))}, ValueError, "diffusivity must be >= 0, got -1"),
        ({"time": torch.tensor([0.1, math.inf])}, ValueError, "time must be finite, got a non-finite entry"),
        ({"diffusivity": "0.3"}, TypeError, "diffusivity must be a float, a tensor, .* got '0.3'"),
        ({"diffusivity": True}, TypeError, "diffusivity must be a float, a tensor, .* got True"),
        ({"diffusivity": torch.ones(2, dtype=torch.int64)}, TypeError, "diffusivity must be a real .* torch.int64"),
        ({"diffusity": 0.1}, TypeError, "unexpected keyword argument 'diffusity'"),
    ],
)
def test_errors_name_the_argument(arguments, error, message):
    with pytest.raises(error, match=message):
        Heat(**arguments)
