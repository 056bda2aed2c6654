"""Each axis with a boundary of its own: every mix of walls, periodic axes, and what they have in common."""

from __future__ import annotations

import itertools
import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from dense_laplacian import apply, matrix_function, minus_laplacian, stencil
from torch import nn

import spectral_ops as so
from spectral_ops.boundaries import BOUNDARIES

FINITE = {"laplacian": "finite-difference"}
MIXES = list(itertools.product(BOUNDARIES, repeat=2))
mixes = pytest.mark.parametrize("boundary", MIXES, ids="-".join)


# -- known answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 16])
def test_periodic_eigenvalues_are_those_of_the_frequencies(n):
    omega = np.sort(np.abs(2 * np.pi * np.fft.fftfreq(n)))
    options = {"boundary": "periodic", "spacing": 0.5, "dtype": torch.float64}
    values = so.laplacian_eigenvalues(n, **options)
    np.testing.assert_allclose(values, (omega / 0.5) ** 2, rtol=1e-13)
    values = so.laplacian_eigenvalues(n, **options, **FINITE)
    np.testing.assert_allclose(values, (2 - 2 * np.cos(omega)) / 0.25, rtol=1e-13, atol=1e-13)
    basis = so.fourier_basis(n, dtype=torch.float64)
    torch.testing.assert_close(basis @ basis.T, torch.eye(n, dtype=torch.float64))
    circle = torch.from_numpy(stencil(n, "periodic")) / 0.25
    torch.testing.assert_close(basis @ circle @ basis.T, torch.diag(values), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(8, 6), (7, 5), (8, 5), (1, 2)])
def test_heat_and_waves_on_a_torus_are_numpys_fft(shape, draw):
    x = draw(2, *shape)
    frequencies = [2 * np.pi * np.fft.fftfreq(n) for n in shape]
    values = frequencies[0][:, None] ** 2 + frequencies[1] ** 2
    gains = {
        so.Heat(0.3, 2.0, boundary="periodic"): np.exp(-0.6 * values),
        so.Wave(0.7, 2.0, boundary="periodic"): np.cos(1.4 * np.sqrt(values)),
    }
    for operator, gain in gains.items():
        expected = np.fft.ifft2(gain * np.fft.fft2(x.numpy())).real
        torch.testing.assert_close(operator(x), torch.from_numpy(expected), rtol=0, atol=1e-13)
        with so.use_kernels(transform="fft"):
            torch.testing.assert_close(operator(x), torch.from_numpy(expected), rtol=0, atol=1e-13)


@mixes
def test_a_product_of_modes_decays_at_the_sum_of_the_rates(boundary):
    modes, rate = [], 0.0
    for each, n in zip(boundary, (6, 7), strict=True):
        s = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        half = {"neumann": 3, "dirichlet": 3, "periodic": 4}[each]
        modes.append(torch.cos(math.pi * half * s) if each == "neumann" else torch.sin(math.pi * half * s))
        rate += 0.3 * (math.pi * half / n) ** 2
    field = torch.outer(*modes)
    torch.testing.assert_close(so.Heat(0.3, 1.0, boundary=boundary)(field), math.exp(-rate) * field, rtol=0, atol=1e-14)


# -- references -------------------------------------------------------------------------------------------------------

EQUATIONS = {  # an operator, and the function of the matrix of minus the Laplacian that it is
    "heat": (lambda **g: so.Heat(0.3, 1.3, **g), lambda v: np.exp(-0.39 * v)),
    "fractional": (lambda **g: so.FractionalHeat(0.3, 0.6, 1.3, **g), lambda v: np.exp(-0.39 * v**0.6)),
    "wave": (lambda **g: so.Wave(0.7, 1.3, **g), lambda v: np.cos(0.91 * np.sqrt(v))),
    "screened Poisson": (lambda **g: so.Poisson(0.4, **g), lambda v: 1 / (v + 0.16)),
    "Poisson": (so.Poisson, lambda v: np.where(v > 0, 1 / np.where(v > 0, v, 1), 0)),
}


@mixes
@pytest.mark.parametrize("name", EQUATIONS)
def test_functions_of_the_dense_matrix(name, boundary, draw):
    operator, function = EQUATIONS[name]
    x = draw(2, 3, 7, 5)
    expected = apply(matrix_function(minus_laplacian(7, 5, boundary), function), x)
    torch.testing.assert_close(operator(boundary=boundary, **FINITE)(x), expected, rtol=0, atol=1e-12)


@mixes
def test_heat_is_the_matrix_exponential(boundary, draw):
    x = draw(2, 7, 5)
    expected = apply(scipy.linalg.expm(-0.39 * minus_laplacian(7, 5, boundary)), x)
    torch.testing.assert_close(so.Heat(0.3, 1.3, boundary=boundary, **FINITE)(x), expected, rtol=0, atol=1e-13)


@mixes
def test_steppers_converge_at_second_order_in_the_step(boundary):
    """Heat by explicit steps, the step of time tied to that of space: halving h quarters the error."""
    k, t, errors = 0.05, 0.4, []
    for n in (16, 32, 64):
        h = 1 / n
        s = (torch.arange(n).double() + 0.5) * h
        shapes = {
            "neumann": 1 + s**2 * (3 - 2 * s),
            "dirichlet": torch.sin(math.pi * s) * (1 + s * (1 - s)),
            "periodic": torch.exp(torch.sin(2 * math.pi * s)),
        }
        u = torch.outer(*(shapes[each] for each in boundary))
        exact = so.Heat(k, t, spacing=h, boundary=boundary)(u)
        steps = math.ceil(t * k / (0.2 * h * h))
        rows, columns = (k * t / steps / h**2 * torch.from_numpy(stencil(n, each)) for each in boundary)
        for _ in range(steps):
            u = u - rows @ u - u @ columns
        errors.append((u - exact).abs().max().item())
    ratios = [a / b for a, b in pairwise(errors)]
    assert errors[-1] < 2e-3 and all(3.5 < r < 4.5 for r in ratios), (errors, ratios)


# -- physics ----------------------------------------------------------------------------------------------------------


@mixes
def test_mean_extrema_and_symmetry(boundary, draw):
    x, y = draw(2, 9, 8), draw(2, 9, 8)
    heat = so.Heat(0.7, boundary=boundary, **FINITE)
    if "dirichlet" in boundary:
        x = x.abs()
        assert (heat(x).sum((-2, -1)) < x.sum((-2, -1))).all()
    else:
        torch.testing.assert_close(heat(x).mean((-2, -1)), x.mean((-2, -1)))
    for k in (0.01, 0.7, 100.0):
        z = so.Heat(k, boundary=boundary, **FINITE)(x)
        low = min(x.min().item(), 0.0) if "dirichlet" in boundary else x.min()
        assert z.max() <= x.max() + 1e-13 and z.min() >= low - 1e-13
    torch.testing.assert_close((heat(x) * y).sum(), (x * heat(y)).sum())
    torch.testing.assert_close(heat(heat(x)), so.Heat(0.7, 2.0, boundary=boundary, **FINITE)(x))


def test_what_is_periodic_does_not_know_where_it_begins(draw):
    x = draw(2, 9, 8)
    operator = so.Wave(1.0, 2.0, 0.3, boundary=("neumann", "periodic")) @ so.Heat(0.3, boundary=("neumann", "periodic"))
    torch.testing.assert_close(operator(x.roll(3, -1)), operator(x).roll(3, -1))
    assert not torch.allclose(operator(x.roll(3, -2)), operator(x).roll(3, -2))


def test_energy_of_waves_on_a_torus(draw):
    u, v, options = draw(7, 6), draw(7, 6), {"boundary": "periodic", "dtype": torch.float64}
    squared = so.laplacian_eigenvalues((7, 6), **options)
    energy = lambda u, v: (squared * so.rdftn(u) ** 2 + so.rdftn(v) ** 2).sum()  # noqa: E731
    torch.testing.assert_close(energy(*so.Wave(1.0, 3.7, boundary="periodic").step(u, v)), energy(u, v))


@pytest.mark.parametrize("nu", [1.5, 2.5])
def test_white_noise_through_a_gain_has_materns_covariance(nu):
    unit = torch.zeros(256, 256, dtype=torch.float64)
    unit[0, 0] = 1
    values = so.laplacian_eigenvalues((256, 256), boundary="periodic", dtype=torch.float64)
    gain = (0.2**2 + values) ** (-(nu + 1) / 2)
    covariance = so.apply_gain(unit, gain.square(), boundary="periodic")
    r = np.array([1, 2, 5, 10, 20, 40])
    expected = 2 ** (1 - nu) / scipy.special.gamma(nu) * (0.2 * r) ** nu * scipy.special.kv(nu, 0.2 * r)
    for found in (covariance[0, r], covariance[r, 0], covariance[-r, 0]):
        np.testing.assert_allclose(found / covariance[0, 0], expected, atol=2e-3)
    diagonal = (covariance[10, 10] / covariance[0, 0]).item()
    r = 0.2 * np.sqrt(200)
    expected = 2 ** (1 - nu) / scipy.special.gamma(nu) * r**nu * scipy.special.kv(nu, r)
    assert diagonal == pytest.approx(expected, abs=2e-3)


# -- what every mix shares --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet", "periodic"])
@pytest.mark.parametrize("laplacian", ["spectral", "finite-difference"])
def test_one_for_all_axes_is_each_of_them_to_the_bit(boundary, laplacian, draw):
    x = draw(2, 9, 8, 3)
    options = {"dims": (1, 2), "laplacian": laplacian, "spacing": (0.5, 2.0)}
    one, each = (so.Wave(0.7, 1.2, 0.3, boundary=b, **options) for b in (boundary, [boundary, boundary]))
    assert torch.equal(one(x), each(x)) and one.grid_options == each.grid_options and repr(one) == repr(each)
    gain = one.gain((9, 8), dtype=torch.float64)
    assert torch.equal(so.apply_gain(x, gain, (1, 2), boundary=(boundary, boundary)), one(x))


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet"])
@pytest.mark.parametrize("sizes", [(6, 7), (1, 33), (64, 14)])
def test_walls_of_one_kind_are_to_the_bit_what_they_were(boundary, sizes, draw):
    """The operators before axes had boundaries of their own: one kind of basis and of eigenvalue, restated."""
    first = 0 if boundary == "neumann" else 1
    values, bases = torch.zeros((), dtype=torch.float64), []
    for axis, n in enumerate(sizes):
        theta = (torch.arange(n, dtype=torch.float64) + first) * (math.pi / n)
        values = values + (theta.square() / 1.0**2).view([-1] + [1] * (1 - axis))
        wave = torch.arange(first, n + first)
        phase = (torch.outer(wave, 2 * torch.arange(n) + 1) - first * n) % (4 * n)
        r = n - torch.minimum(phase, 4 * n - phase)
        period = torch.tensor(4.0 * n, dtype=torch.float64)
        basis = torch.sin(r.double() * (2 * math.pi / period)) * (8 / period).sqrt()
        edge = 1 - (1 - math.sqrt(0.5)) * (4 * wave % (4 * n) == 0).double()
        bases.append((basis * edge[:, None]).float())
    gain = torch.exp(-(values.float().unsqueeze(-1) * torch.tensor(0.3)) * torch.tensor(1.2))
    x = draw(2, *sizes, 3, dtype=torch.float32)
    rows, columns = bases
    spectrum = torch.matmul(columns, torch.matmul(rows, x.flatten(2)).view(x.shape)) * gain
    expected = torch.matmul(columns.mT, torch.matmul(rows.mT, spectrum.flatten(2)).view(x.shape))
    assert torch.equal(so.Heat(0.3, 1.2, boundary=boundary, dims=(1, 2)).gain(sizes), gain[..., 0])
    waves, steady = so.Wave(0.7, 1.2, boundary=boundary), so.Poisson(0.4, boundary=boundary)
    assert torch.equal(waves.gain(sizes), torch.cos(values.float().sqrt() * torch.tensor(0.7) * torch.tensor(1.2)))
    assert torch.equal(steady.gain(sizes), 1 / (values.float() + torch.tensor(0.4).square()))
    if 33 not in sizes:  # where a side is 1, products of other shapes are taken
        assert torch.equal(so.Heat(0.3, 1.2, boundary=boundary, dims=(1, 2))(x), expected)


@mixes
def test_second_derivatives(boundary, draw):
    inputs = [v.requires_grad_() for v in (draw(1, 2, 3, 4), draw(2).exp(), draw(2).exp())]
    function = lambda x, k, t: so.Heat(k, t, boundary=boundary)(x)  # noqa: E731
    assert torch.autograd.gradcheck(function, inputs) and torch.autograd.gradgradcheck(function, inputs)


@mixes
def test_the_fft_of_each_axis(boundary, draw):
    operator, x = so.Wave(0.7, 1.2, boundary=boundary), draw(2, 3, 8, 7)
    expected = operator(x)
    with so.use_kernels(transform="fft"):
        torch.testing.assert_close(operator(x), expected)


def test_export_compile_and_function_transforms(draw):
    operator = so.Heat(nn.Parameter(torch.tensor([0.3, 0.2, 0.5])), boundary=("periodic", "dirichlet"))
    x, dynamic = draw(2, 3, 9, 8, dtype=torch.float32), torch.export.Dim.DYNAMIC
    program = torch.export.export(operator, (x,), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},)).module()
    compiled = torch.compile(operator, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 3, 9, 8), (3, 3, 6, 13)):
        x = draw(*shape, dtype=torch.float32)
        torch.testing.assert_close(program(x), operator(x))
        torch.testing.assert_close(compiled(x), operator(x))
    torch.testing.assert_close(torch.func.vmap(operator)(x), operator(x))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_tracing(draw):
    operator, x = so.Heat(0.3, boundary=("periodic", "dirichlet")), draw(2, 3, 9, 8, dtype=torch.float32)
    traced, other = torch.jit.trace(operator, x), draw(1, 3, 6, 13, dtype=torch.float32)
    torch.testing.assert_close(traced(x), operator(x))
    torch.testing.assert_close(traced(other), operator(other))


def test_three_axes_and_any_order_of_dims(draw, count_products):
    x, boundary = draw(2, 4, 5, 6, 3), ("dirichlet", "periodic", "neumann")
    operator = so.Heat(0.3, dims=(1, 2, 3), boundary=boundary)
    y = x
    for dim, each in zip((1, 2, 3), boundary, strict=True):
        y = so.Heat(0.3, dims=dim, boundary=each)(y)
    torch.testing.assert_close(operator(x), y)
    torch.testing.assert_close(so.Heat(0.3, dims=(3, 1, 2), boundary=("neumann", "dirichlet", "periodic"))(x), y)
    assert count_products(lambda: (operator @ operator + operator)(x.float())) == 6


@pytest.mark.parametrize("boundary", ["periodic", ("periodic", "neumann")])
def test_the_mean_is_one_mode_where_no_wall_is_cold(boundary, draw):
    router = so.Mixture([so.Heat(0.1, boundary=boundary), so.Heat(1.0, boundary=boundary)], so.InputRouter(3, 2))
    first, x = so.ReactionDiffusion(0.2, 0.7, boundary=boundary), draw(2, 3, 6, 7, dtype=torch.float32)
    torch.testing.assert_close((router @ first)(x), router(first(x)))


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: so.Heat(boundary="robin"),
            r"boundary must be one of \('neumann', .* per axis, got 'robin'",
        ),
        (lambda: so.Heat(boundary=None), r"boundary must be one of \('neumann', .* got None"),
        (
            lambda: so.Heat(boundary=("neumann", "robin")),
            r"boundary\[1\] must be one of \('neumann', 'dirichlet', 'periodic'\), got 'robin'",
        ),
        (
            lambda: so.Heat(boundary=("periodic", "neumann"), dims=(1, 2, 3)),
            r"boundary must be one of .*, or one per axis, 3 in all, got \('periodic', 'neumann'\)",
        ),
        (
            lambda: so.Heat(boundary=("periodic", "neumann")) + so.Heat(boundary="periodic"),
            r"must share .*; boundary of dimension -1: 'neumann' and 'periodic'$",
        ),
        (
            lambda: so.Heat(boundary=("periodic", "neumann"), dims=(1, 2)) @ so.Heat(boundary="neumann", dims=(2, 1)),
            r"must share dims, .* got \{'dims': \(1, 2\), .* and \{'dims': \(2, 1\), [^;]*$",
        ),
        (lambda: so.Heat(boundary=np.array(["neumann", "periodic"])), r"boundary must be one of .* got array"),
        (lambda: so.Heat(spacing=(1.0, -2.0)), r"spacing\[1\] must be > 0, got -2"),
        (lambda: so.Heat(spacing=(1.0, 2.0, 3.0)), r"spacing must be .* one per axis, 2 in all, got \(1\.0, 2\.0, 3"),
        (lambda: so.apply_gain(torch.ones(3, 4), torch.ones(3, 4), boundary=("periodic",)), "one per axis, 2 in all"),
        (lambda: so.laplacian_eigenvalues((3, 4), boundary=()), "one per axis, 2 in all"),
    ],
)
def test_errors_name_axis_given_and_accepted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
