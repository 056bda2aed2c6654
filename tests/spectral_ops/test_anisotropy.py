"""Quantities per axis: equations whose coefficients differ between the axes, and operators of one's own."""

from __future__ import annotations

import copy
import itertools
import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch
from dense_laplacian import apply, matrix_function, minus_laplacian, stencil
from torch import nn

import spectral_ops as so
from spectral_ops.boundaries import BOUNDARIES

FINITE = {"laplacian": "finite-difference"}
mixes = pytest.mark.parametrize("boundary", list(itertools.product(BOUNDARIES, repeat=2)), ids="-".join)

#: From two quantities to an operator, and the function of the weighted Laplacian that it is, for (0.3, 1.1).
EQUATIONS = {
    "heat": (lambda q, **g: so.Heat(q, 1.3, **g), (0.3, 1.1), lambda v: np.exp(-1.3 * v)),
    "reaction": (lambda q, **g: so.ReactionDiffusion(q, 0.2, 1.3, **g), (0.3, 1.1), lambda v: np.exp(-1.3 * (v + 0.2))),
    "wave": (lambda q, **g: so.Wave(q, 1.3, **g), (0.09, 1.21), lambda v: np.cos(1.3 * np.sqrt(v))),
    "Poisson": (
        lambda q, **g: so.Poisson(0.0, q, **g),
        (0.3, 1.1),
        lambda v: np.where(v > 0, 1 / np.where(v > 0, v, 1), 0),
    ),
    "screened Poisson": (lambda q, **g: so.Poisson(0.4, q, **g), (0.3, 1.1), lambda v: 1 / (v + 0.16)),
}
every = pytest.mark.parametrize("name", EQUATIONS)


class Canal(so.Relaxation):
    """u_t = a u_xx - b u_yyyy."""

    per_axis = True

    def __init__(self, along=1.0, across=1.0, time=1.0, **options):
        super().__init__(time, **options)
        self.add_quantity("along", along, minimum=0.0)
        self.add_quantity("across", across, minimum=0.0)

    def rate(self, eigenvalues, *, along, across):
        y, x = eigenvalues
        return along * x + across * y.square()


# -- references -------------------------------------------------------------------------------------------------------


@mixes
@every
def test_functions_of_the_dense_matrix(name, boundary, draw):
    operator, weights, function = EQUATIONS[name]
    x = draw(2, 3, 7, 5)
    expected = apply(matrix_function(minus_laplacian(7, 5, boundary, weights), function), x)
    torch.testing.assert_close(operator((0.3, 1.1), boundary=boundary, **FINITE)(x), expected, rtol=0, atol=1e-12)


@mixes
def test_heat_is_the_matrix_exponential(boundary, draw):
    x = draw(2, 7, 5)
    expected = apply(scipy.linalg.expm(-1.3 * minus_laplacian(7, 5, boundary, (0.3, 1.1))), x)
    torch.testing.assert_close(so.Heat((0.3, 1.1), 1.3, boundary=boundary, **FINITE)(x), expected, rtol=0, atol=1e-13)


@mixes
def test_velocities_and_sources(boundary, draw):
    """Both against the matrix exponential of the system they are part of."""
    u, v = draw(4, 5), draw(4, 5)
    minus, zero, one = minus_laplacian(4, 5, boundary, (0.09, 1.21)), np.zeros((20, 20)), np.eye(20)
    system = scipy.linalg.expm(1.3 * np.block([[zero, one], [-minus, -0.4 * one]]))
    expected = torch.from_numpy(system @ np.concatenate([u.numpy().ravel(), v.numpy().ravel()])).view(2, 4, 5)
    found = so.Wave((0.3, 1.1), 1.3, 0.4, boundary=boundary, **FINITE).step(u, v)
    torch.testing.assert_close(torch.stack(found), expected, rtol=0, atol=1e-12)
    minus = minus_laplacian(4, 5, boundary, (0.3, 1.1))
    system = scipy.linalg.expm(1.3 * np.block([[-minus, one], [zero, zero]]))
    expected = torch.from_numpy(system @ np.concatenate([u.numpy().ravel(), v.numpy().ravel()]))[:20].view(4, 5)
    found = so.Heat((0.3, 1.1), 1.3, boundary=boundary, **FINITE)(u, source=v)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_product_of_modes_decays_at_both_rates():
    y, x = (torch.arange(6).double() + 0.5) / 6, (torch.arange(7).double() + 0.5) / 7
    field = torch.outer(torch.cos(math.pi * 2 * y), torch.cos(math.pi * 3 * x))
    rate = 0.3 * (math.pi * 2 / 6) ** 2 + 1.1 * (math.pi * 3 / 7) ** 2
    torch.testing.assert_close(so.Heat((0.3, 1.1))(field), math.exp(-rate) * field, rtol=0, atol=1e-14)


def test_explicit_euler_converges_at_second_order_in_the_step():
    weights, t, errors = (0.02, 0.08), 0.3, []
    for n in (16, 32, 64):
        h = 1 / n
        s = (torch.arange(n).double() + 0.5) * h
        u = torch.outer(torch.exp(torch.cos(2 * math.pi * s)), 1 + s**2 * (3 - 2 * s))
        exact = so.Heat(weights, t, spacing=h, boundary=("periodic", "neumann"))(u)
        steps = math.ceil(t * 0.1 / (0.4 * h * h))
        rows, columns = (
            k * t / steps / h**2 * torch.from_numpy(stencil(n, wall))
            for k, wall in zip(weights, ("periodic", "neumann"), strict=True)
        )
        for _ in range(steps):
            u = u - rows @ u - u @ columns
        errors.append((u - exact).abs().max().item())
    ratios = [a / b for a, b in pairwise(errors)]
    assert errors[-1] < 1e-3 and all(3.5 < r < 4.5 for r in ratios), (errors, ratios)


# -- physics ----------------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("spacing", [1.0, (0.5, 2.0)])
def test_one_value_for_both_axes_is_the_isotropic_operator(name, spacing, draw):
    x = draw(2, 3, 6, 7)
    operator = EQUATIONS[name][0]
    torch.testing.assert_close(operator((0.7, 0.7), spacing=spacing)(x), operator(0.7, spacing=spacing)(x))


def test_a_diffusivity_is_a_spacing(draw):
    x = draw(2, 9, 8)
    torch.testing.assert_close(so.Heat((0.3, 1.2))(x), so.Heat(0.3, spacing=(1.0, 0.5))(x))
    torch.testing.assert_close(so.Heat((1.2, 0.3), dims=(2, 1))(x), so.Heat((0.3, 1.2), dims=(1, 2))(x))


def test_axes_one_by_one(draw):
    x = draw(2, 3, 4, 5, 6)
    operator = so.Heat((0.3, 0.0, 1.1), dims=(-3, -2, -1))
    torch.testing.assert_close(operator(x), so.Heat(0.3, dims=-3)(so.Heat(1.1, dims=-1)(x)))
    assert torch.equal(so.Heat((0.3,), dims=-1)(x), so.Heat(0.3, dims=-1)(x))


def test_mean_maximum_principle_and_semigroup(draw):
    x = draw(9, 8)
    for weights in ((0.01, 3.0), (30.0, 0.0)):
        first, both = (so.Heat(weights, t, **FINITE) for t in (0.7, 1.4))
        y = both(x)
        torch.testing.assert_close(y.mean(), x.mean())
        assert y.max() <= x.max() + 1e-13 and y.min() >= x.min() - 1e-13
        torch.testing.assert_close(first(first(x)), y)
        torch.testing.assert_close((first @ first)(x), y)
    torch.testing.assert_close(so.Heat((0.0, 1e6))(x), x.mean(-1, keepdim=True).expand_as(x))
    torch.testing.assert_close(so.Heat((0.0, 0.4), math.inf)(x), x.mean(-1, keepdim=True).expand_as(x))


def test_waves_run_at_the_speed_of_their_axis_and_back(draw):
    u = torch.zeros(64, 64, dtype=torch.float64)
    u[32, 32] = 1
    u = so.Heat(4.0)(u)  # a pulse without what the grid cannot resolve
    later = so.Wave((0.5, 2.0), 10.0)(u)
    reach = [(later.abs().amax(1 - axis) > 0.2 * later.abs().max()).nonzero().flatten() for axis in (0, 1)]
    assert reach[0].max() - 32 < 12 and 16 < reach[1].max() - 32 < 28
    there, back = so.Wave((0.5, 2.0), 10.0), so.Wave((0.5, 2.0), -10.0)
    torch.testing.assert_close(back.step(*there.step(u, draw(64, 64)))[0], u, rtol=0, atol=1e-10)


# -- learning ---------------------------------------------------------------------------------------------------------


def learned(value):
    return nn.Parameter(torch.tensor(value, dtype=torch.float64))


@every
def test_gradients_of_each_axis(name, draw):
    x, operator = draw(1, 2, 3, 4), EQUATIONS[name][0]
    inputs = [x.requires_grad_(), draw(2).exp().requires_grad_(), draw(3, 4, 2).exp().requires_grad_()]
    function = lambda x, a, b: operator((a, b))(x)  # noqa: E731
    assert torch.autograd.gradcheck(function, inputs) and torch.autograd.gradgradcheck(function, inputs)


def test_a_wave_at_rest_along_both_axes_has_finite_gradients(draw):
    speeds = learned(0.0), learned(0.0)
    so.Wave(speeds, 1.3, 0.2)(draw(2, 5, 6)).square().sum().backward()
    assert all(c.grad.isfinite() for c in speeds)


def test_every_kind_of_quantity_on_each_axis(draw):
    x = draw(2, 3, 6, 7, dtype=torch.float32)
    embedding = so.SpectralEmbedding((4, 4), 3)
    kinds = [0.4, torch.tensor(0.4), torch.full((3,), 0.4), nn.Parameter(torch.full((3,), 0.4)), so.Softplus(0.4, (3,))]
    for first, second in itertools.product(kinds, repeat=2):
        torch.testing.assert_close(so.Heat((first, second))(x), so.Heat(0.4)(x))
    heat = so.Heat((so.FromEmbedding(3), so.SoftplusEmbedding()))
    assert heat.embedding_conditioned and not heat.input_conditioned
    grid = so.Grid((6, 7), torch.float32, torch.device("cpu"), embedding((6, 7)))
    y, x = (quantity(grid) for quantity in heat.diffusivity)
    rates = y * so.laplacian_eigenvalues(6)[:, None, None] + x * so.laplacian_eigenvalues(7)[:, None]
    torch.testing.assert_close(heat.gain((6, 7), embedding=embedding((6, 7))), torch.exp(-rates))


class Brightness(nn.Module):
    """A quantity that follows the input's mean."""

    needs_input, minimum = True, 0.0

    def forward(self, grid):
        return grid.pooled.square()[..., None, None, :]


def test_conditioned_on_the_input(draw):
    heat, x = so.Heat((Brightness(), 0.2)), draw(2, 3, 6, 7)
    assert heat.input_conditioned
    expected = torch.stack([so.Heat((one.mean((1, 2)).square(), 0.2))(one) for one in x])
    torch.testing.assert_close(heat(x), expected)
    torch.testing.assert_close((heat @ so.Heat((0.1, 3.0)))(x), heat(so.Heat((0.1, 3.0))(x)))


def test_names_copies_and_stored_gains(draw):
    heat, x = so.Heat((so.Softplus(0.3, (3,)), torch.tensor([0.1, 0.2, 0.3])), dims=(1, 2)), draw(2, 6, 7, 3)
    assert list(heat.state_dict()) == ["diffusivity.1", "diffusivity.0.raw"]
    assert repr(heat) == "Heat(diffusivity=(Softplus(shape=(3,)), Tensor[3]), time=1, dims=(1, 2))"
    assert repr(so.Wave((0.5, 2), dims=(1, 2))) == "Wave(speed=(0.5, 2), time=1, damping=0, dims=(1, 2))"
    assert repr(so.Heat([0.5], dims=-1)) == "Heat(diffusivity=(0.5,), time=1, dims=(-1,))"
    other = copy.deepcopy(heat)
    with torch.no_grad():
        other.diffusivity[0].raw.add_(1)
    assert not torch.allclose(other(x), heat(x))
    other.load_state_dict(heat.state_dict())
    assert torch.equal(other(x), heat(x))
    fast = so.Precomputed(heat).eval()
    fast.store((6, 7), heat.gain((6, 7), dtype=torch.float64))
    with torch.no_grad():
        assert torch.equal(fast(x), heat(x))
        heat.diffusivity[1].mul_(2)
        assert torch.equal(fast(x), heat(x))  # the stored gain is no longer it
    assert torch.equal(heat.to(torch.bfloat16).diffusivity[1], heat.diffusivity[1].bfloat16())


def test_expressions_with_isotropic_operators_are_one_transform_pair(draw, count_products):
    x = draw(2, 3, 9, 8, dtype=torch.float32)
    boundary = ("periodic", "dirichlet")
    parts = [
        so.Heat((0.1, 2.0), boundary=boundary),
        so.Wave(1.0, 2.0, boundary=boundary),
        so.Poisson(0.3, (1.0, 0.5), boundary=boundary),
    ]
    expression = 0.5 * parts[0] @ parts[1] + so.Mixture(parts, so.Softmax(3))
    assert count_products(lambda: expression(x)) == 4
    expected = 0.5 * parts[0](parts[1](x)) + sum(part(x) for part in parts) / 3
    torch.testing.assert_close(expression(x), expected, rtol=1e-4, atol=1e-5)


# -- graphs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["heat", "wave"])
def test_export_and_compile(name, draw):
    operator = EQUATIONS[name][0]((so.Softplus(0.3, (3,)), nn.Parameter(torch.tensor(1.1))))
    x, dynamic = draw(2, 3, 9, 8, dtype=torch.float32), torch.export.Dim.DYNAMIC
    program = torch.export.export(operator, (x,), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},)).module()
    compiled = torch.compile(operator, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 3, 9, 8), (3, 3, 5, 12)):
        x = draw(*shape, dtype=torch.float32)
        torch.testing.assert_close(program(x), operator(x))
        torch.testing.assert_close(compiled(x), operator(x))
    torch.testing.assert_close(torch.func.vmap(operator)(x), operator(x))


# -- operators of one's own -------------------------------------------------------------------------------------------


def test_an_operator_of_ones_own_sees_the_axes(draw):
    x = draw(2, 7, 5)
    rows, columns = stencil(7), stencil(5, "periodic")
    matrix = np.kron(0.2 * rows @ rows, np.eye(5)) + np.kron(np.eye(7), 0.7 * columns)
    canal = Canal(0.7, 0.2, 1.3, boundary=("neumann", "periodic"), **FINITE)
    torch.testing.assert_close(canal(x), apply(scipy.linalg.expm(-1.3 * matrix), x), rtol=0, atol=1e-12)
    shapes = []
    canal.rate = lambda eigenvalues, **quantities: shapes.extend(e.shape for e in eigenvalues) or eigenvalues[0]
    canal.gain((4, 3))
    assert shapes == [(4, 3, 1), (4, 3, 1)]
    per_channel = Canal(so.Softplus(0.5, (3,)), dims=(1, 2)) @ so.Heat(0.3, dims=(1, 2))
    assert so.SpectralMixer(3, per_channel)(torch.randn(2, 7, 5, 3)).shape == (2, 7, 5, 3)


# -- bad input --------------------------------------------------------------------------------------------------------

THREE = {"dims": (-3, -2, -1)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: so.Heat((0.1, 0.2), **THREE),
            ValueError,
            r"diffusivity must be one quantity, or one for each of the 3 dimensions \(-3, -2, -1\), got 2",
        ),
        (lambda: so.Wave([], dims=-1), ValueError, r"speed must be one .* 1 dimensions \(-1,\), got 0"),
        (lambda: so.Heat((0.1, -0.2)), ValueError, r"diffusivity\[1\] must be >= 0, got -0\.2"),
        (lambda: so.Heat((torch.tensor([1.0, -3.0]), 0.2)), ValueError, r"diffusivity\[0\] must be >= 0, got -3"),
        (
            lambda: so.Poisson(0.1, (0.2, so.Bounded(0.5, -1.0, 1.0))),
            ValueError,
            r"conductivity\[1\] must be >= 0, got Bounded\(.*\), which may be -1",
        ),
        (lambda: so.Wave((math.nan, 1.0)), ValueError, r"speed\[0\] must be finite, got nan"),
        (lambda: so.Heat((0.1, "0.2")), TypeError, r"diffusivity\[1\] must be a float, a tensor, .* got '0\.2'"),
        (lambda: so.Heat((0.1, torch.tensor(1))), TypeError, r"diffusivity\[1\] must be a real .* torch.int64"),
        (lambda: so.Heat((0.1, (0.2, 0.3))), TypeError, r"diffusivity\[1\] must be a float, .* got \(0\.2, 0\.3\)"),
        (lambda: so.Biharmonic((0.1, 0.2)), TypeError, r"stiffness must be a float, a tensor, .* got \(0\.1, 0\.2\)"),
        (lambda: so.Heat(0.1, (1.0, 2.0)), TypeError, r"time must be a float, a tensor, .* got \(1\.0, 2\.0\)"),
    ],
)
def test_errors_name_axis_given_and_accepted(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_quantity_assigned_later_is_checked_where_it_is_used(draw):
    heat = so.Heat((0.3, 0.2))
    setattr(heat.diffusivity, "1", -0.1)
    with pytest.raises(ValueError, match=r"diffusivity\[1\] must be >= 0, got -0\.1"):
        heat(draw(6, 7))
    heat = so.Heat(0.3)
    heat.diffusivity = (0.3, 0.2)
    with pytest.raises(TypeError, match=r"diffusivity must be a float, a tensor, .* got \(0\.3, 0\.2\)"):
        heat(draw(6, 7))
