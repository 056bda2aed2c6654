"""Poisson's equation against a sparse direct solver and known solutions."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
from dense_laplacian import stencil

from spectral_ops import Identity, Poisson

FINITE = {"laplacian": "finite-difference"}


def solve(source: torch.Tensor, screening: float, spacing: float, boundary: str) -> torch.Tensor:
    """(-lap + s^2) u = f by sparse LU; where the matrix is singular, with the mean of u fixed at 0."""
    height, width = source.shape
    rows, columns = (scipy.sparse.csr_matrix(stencil(n, boundary)) for n in (height, width))
    matrix = scipy.sparse.kronsum(columns, rows) / spacing**2 + screening**2 * scipy.sparse.eye(height * width)
    f = source.numpy().ravel()
    if screening == 0 and boundary != "dirichlet":
        ones = np.ones((height * width, 1))
        matrix = scipy.sparse.bmat([[matrix, ones], [ones.T, None]])
        f = np.append(f - f.mean(), 0.0)
    u = scipy.sparse.linalg.spsolve(matrix.tocsc(), f)
    return torch.from_numpy(u[: height * width]).view(height, width)


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet", "periodic"])
@pytest.mark.parametrize("screening", [0.0, 0.01, 0.7, 30.0])
def test_the_finite_difference_form_is_the_sparse_solution(screening, boundary, draw):
    f = draw(12, 9)
    expected = solve(f, screening, 0.5, boundary)
    found = Poisson(screening, spacing=0.5, boundary=boundary, **FINITE)(f)
    assert (found - expected).norm() <= 1e-11 * expected.norm()


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet", "periodic"])
@pytest.mark.parametrize("screening", [0.0, 3.0])
def test_the_sparse_solution_converges_at_second_order(screening, boundary):
    errors = []
    for n in (8, 16, 32):
        x = (torch.arange(n).double() + 0.5) / n
        f = torch.outer(torch.sin(math.pi * x) ** 3, x**2 * (1 - x) ** 2)
        exact = Poisson(screening, spacing=1 / n, boundary=boundary)(f)
        errors.append(((solve(f, screening, 1 / n, boundary) - exact).abs().max() / exact.abs().max()).item())
    ratios = [a / b for a, b in pairwise(errors)]
    assert errors[-1] < 1e-2 and all(3.5 < r < 4.6 for r in ratios), (errors, ratios)


def test_known_solutions():
    y, x = (torch.arange(6).double() + 0.5) / 6, (torch.arange(7).double() + 0.5) / 7
    u = torch.outer(torch.cos(math.pi * 2 * y), torch.cos(math.pi * 3 * x))
    eigenvalue = (math.pi * 2 / 6) ** 2 + (math.pi * 3 / 7) ** 2
    torch.testing.assert_close(Poisson()(eigenvalue * u), u)
    torch.testing.assert_close(Poisson(0.5)((eigenvalue + 0.25) * u), u)
    u = torch.outer(torch.sin(math.pi * 2 * y), torch.sin(math.pi * 3 * x))
    torch.testing.assert_close(Poisson(boundary="dirichlet")(eigenvalue * u), u)


def test_constant_mode_and_limits(draw):
    f = draw(2, 3, 6, 7)
    assert Poisson()(f).mean((-2, -1)).abs().max() < 1e-14
    torch.testing.assert_close(Poisson()(f), Poisson()(f + 5.0))
    torch.testing.assert_close(Poisson(0.5)(torch.ones(6, 7)), torch.full((6, 7), 4.0))
    torch.testing.assert_close(1e8 * Poisson(1e4)(f), f, rtol=0, atol=1e-5)
    torch.testing.assert_close(Identity()(f), f)


def test_gradients_also_at_zero_screening(draw):
    f = draw(2, 2, 3).requires_grad_()
    s = torch.tensor([0.0, 0.7], dtype=torch.float64, requires_grad=True)
    loss = Poisson(s)(f).square().sum()
    gradients = torch.autograd.grad(loss, (f, s))
    assert all(torch.isfinite(g).all() for g in gradients)
    positive = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    function = lambda f, s: Poisson(s)(f)  # noqa: E731
    assert torch.autograd.gradcheck(function, (f, positive)) and torch.autograd.gradgradcheck(function, (f, positive))


def test_errors():
    with pytest.raises(ValueError, match="screening must be >= 0, got -1"):
        Poisson(-1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'time'"):
        Poisson(time=1.0)
