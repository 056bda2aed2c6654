"""Heat's relatives and their sources against dense linear algebra; limits, gradients, errors."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch
from dense_laplacian import apply, matrix_function, minus_laplacian

from spectral_ops import Biharmonic, FractionalHeat, Heat, Poisson, ReactionDiffusion, SourceResponse, Wave
from spectral_ops._functions import phi1

FINITE = {"laplacian": "finite-difference"}
EQUATIONS = {
    "heat": (lambda **g: Heat(0.3, 1.7, **g), lambda v: 0.3 * v),
    "cauchy": (lambda **g: FractionalHeat(0.3, 0.5, 1.7, **g), lambda v: 0.3 * v**0.5),
    "fractional": (lambda **g: FractionalHeat(0.3, 1.3, 1.7, **g), lambda v: 0.3 * v**1.3),
    "biharmonic": (lambda **g: Biharmonic(0.3, 1.7, **g), lambda v: 0.3 * v**2),
    "reaction": (lambda **g: ReactionDiffusion(0.3, 0.2, 1.7, **g), lambda v: 0.3 * v + 0.2),
}


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet", "periodic"])
@pytest.mark.parametrize("name", EQUATIONS)
def test_it_is_the_function_of_the_laplacian_matrix(name, boundary, draw):
    operator, rate = EQUATIONS[name]
    x, laplacian = draw(2, 3, 6, 7), minus_laplacian(6, 7, boundary)
    expected = apply(matrix_function(laplacian, lambda v: np.exp(-1.7 * rate(v))), x)
    torch.testing.assert_close(operator(boundary=boundary, **FINITE)(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet", "periodic"])
@pytest.mark.parametrize("name", EQUATIONS)
def test_a_steady_source_is_integrated(name, boundary, draw):
    """u_t = -R u + f by one exponential of the system of u and f, with f_t = 0."""
    operator, rate = EQUATIONS[name]
    matrix = matrix_function(minus_laplacian(4, 5, boundary), rate)
    system = np.block([[-matrix, np.eye(20)], [np.zeros((20, 40))]])
    flow = scipy.linalg.expm(1.7 * system)
    u, f = draw(2, 4, 5), draw(2, 4, 5)
    evolution = operator(boundary=boundary, **FINITE)
    expected = apply(flow[:20, :20], u) + apply(flow[:20, 20:], f)
    torch.testing.assert_close(evolution(u, source=f), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(evolution.source_response()(f), apply(flow[:20, 20:], f), rtol=0, atol=1e-12)


def test_special_cases_agree(draw):
    x = draw(2, 3, 9, 8)
    torch.testing.assert_close(FractionalHeat(0.3, 1.0, 0.7)(x), Heat(0.3, 0.7)(x))
    torch.testing.assert_close(FractionalHeat(0.3, 2.0, 0.7)(x), Biharmonic(0.3, 0.7)(x))
    torch.testing.assert_close(ReactionDiffusion(0.3, 0.0, 0.7)(x), Heat(0.3, 0.7)(x))
    torch.testing.assert_close(ReactionDiffusion(0.3, 0.5, 0.7)(x), math.exp(-0.35) * Heat(0.3, 0.7)(x))


def test_the_cauchy_kernel_has_heavy_tails():
    """In one dimension its kernel is (1 / pi) k t / (x^2 + (k t)^2), up to the images behind the walls."""
    n, kt = 4001, 6.0
    delta = torch.zeros(n, dtype=torch.float64)
    delta[n // 2] = 1.0
    kernel = FractionalHeat(kt, 0.5, dims=-1)(delta)
    distance = torch.arange(0, 60, dtype=torch.float64)
    expected = kt / (math.pi * (distance**2 + kt**2))
    torch.testing.assert_close(kernel[n // 2 : n // 2 + 60], expected, rtol=2e-3, atol=0)
    gaussian = Heat(kt, dims=-1)(delta)[n // 2 : n // 2 + 60]
    expected = torch.exp(-(distance**2) / (4 * kt)) / math.sqrt(4 * math.pi * kt)
    torch.testing.assert_close(gaussian, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", EQUATIONS)
def test_semigroup_and_limits(name, draw):
    operator, _ = EQUATIONS[name]
    x = draw(2, 3, 9, 8)
    evolution, twice, never, forever = operator(), operator(), operator(), operator()
    twice.time, never.time, forever.time = 3.4, 0.0, math.inf
    torch.testing.assert_close(evolution(evolution(x)), twice(x))
    torch.testing.assert_close(never(x), x)
    mean = x.mean((-2, -1), keepdim=True).expand_as(x)
    torch.testing.assert_close(forever(x), torch.zeros_like(x) if name == "reaction" else mean)
    assert torch.isfinite(forever(x.float())).all()
    late = operator()
    late.time = 1e6
    torch.testing.assert_close(late(x), forever(x))


def test_the_steady_state_of_a_source_is_poissons(draw):
    f = draw(9, 8)
    torch.testing.assert_close(Heat(1.0, 1e5).source_response()(f - f.mean()), Poisson()(f))
    torch.testing.assert_close(ReactionDiffusion(2.0, 0.5, 1e5).source_response()(f), 0.5 * Poisson(screening=0.5)(f))
    with pytest.raises(ValueError, match="time is inf: a source has no response in the limit"):
        Heat(1.0, math.inf)(f, source=f)


@pytest.mark.parametrize("rate", [0.0, 1e-12, 1e-3, 0.5, 1.0, 3.0, 1e4])
def test_the_response_of_a_mode_is_smooth_in_its_rate(rate):
    """phi = (1 - exp(-r t)) / r and its derivative, from fifty digits."""
    z = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
    value = phi1(z)
    (slope,) = torch.autograd.grad(value, z)
    with mpmath.workdps(50):
        r = mpmath.mpf(rate)
        exact = mpmath.mpf(1) if rate == 0 else (1 - mpmath.exp(-r)) / r
        derivative = -mpmath.mpf(1) / 2 if rate == 0 else ((1 + r) * mpmath.exp(-r) - 1) / r**2
    assert value.item() == pytest.approx(float(exact), rel=1e-15)
    assert slope.item() == pytest.approx(float(derivative), rel=1e-13)


def test_gradients(draw):
    x, f, k, s, r, t = (v.requires_grad_() for v in (draw(2, 2, 3), draw(2, 2, 3), *(draw(2).exp() for _ in range(4))))
    for function in (
        lambda x, f, k, s, r, t: FractionalHeat(k, s, t)(x, source=f),
        lambda x, f, k, s, r, t: Biharmonic(k, t)(x, source=f),
        lambda x, f, k, s, r, t: ReactionDiffusion(k, r, t)(x, source=f),
    ):
        inputs = (x, f, k, s, r, t)
        assert torch.autograd.gradcheck(function, inputs) and torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: FractionalHeat(order=-0.5), ValueError, "order must be >= 0, got -0.5"),
        (lambda: Biharmonic(stiffness=math.nan), ValueError, "stiffness must be finite, got nan"),
        (lambda: ReactionDiffusion(reaction=-1), ValueError, "reaction must be >= 0, got -1"),
        (lambda: Heat(diffusivity=math.inf), ValueError, "diffusivity must be finite, got inf"),
        (lambda: Heat(time=-math.inf), ValueError, "time must be finite, got -inf"),
        (lambda: Heat(boundary="robin"), ValueError, r"boundary must be one of \('neumann', 'dirichlet', 'periodic'\)"),
        (lambda: SourceResponse(Wave()), TypeError, "evolution must be a Relaxation such as Heat, got Wave"),
        (lambda: Heat()(torch.ones(4, 4), source=torch.ones(4, 5)), ValueError, "fields must share shape and dtype"),
        (lambda: Heat()(torch.ones(4, 4), source=torch.ones(4, 4).double()), ValueError, "fields must share shape"),
        (lambda: Heat()(torch.ones(4, 4), source=3.0), TypeError, "x must be a torch.Tensor, got float"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
