"""Advection and diffusion on periodic axes: shifts, references that know no real modes, and why it is no gain."""

from __future__ import annotations

import copy
import io
import math
import warnings
from itertools import pairwise

import numpy as np
import onnxruntime
import pytest
import scipy.linalg
import torch
from dense_laplacian import stencil
from torch import nn

import spectral_ops as so


def derivative(n):
    """The matrix of d/dx of trigonometric interpolation, for odd n."""
    frequencies = 2j * np.pi * np.fft.fftfreq(n)
    return np.fft.ifft(frequencies[:, None] * np.fft.fft(np.eye(n), axis=0), axis=0).real


def shifted(x, cells, gain=1.0):
    """By numpy's FFT along the last two axes."""
    z = np.fft.rfft2(x.numpy()) * gain
    phase = [np.fft.fftfreq(x.shape[-2])[:, None], np.fft.rfftfreq(x.shape[-1])]
    return torch.from_numpy(np.fft.irfft2(z * np.exp(-2j * np.pi * (cells[0] * phase[0] + cells[1] * phase[1])),
                                          s=x.shape[-2:]))  # fmt: skip


# -- known answers and references -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 5), (8, 6), (1, 2)])
@pytest.mark.parametrize("cells", [(2, -1), (0, 3), (-4, 11)])
def test_moves_by_whole_cells_are_rolls(shape, cells, draw):
    x = draw(2, 3, *shape)
    expected = x.roll(cells, (-2, -1))
    torch.testing.assert_close(so.Advection(tuple(map(float, cells)))(x), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(
        so.Advection(cells, time=0.5, spacing=0.5)(x), so.Advection(cells)(x), rtol=0, atol=1e-13
    )
    blurred = so.Heat(0.3, boundary="periodic")(expected)
    torch.testing.assert_close(so.Advection(cells, 0.3)(x), blurred, rtol=0, atol=1e-13)


@pytest.mark.parametrize("cells", [10_000_001.0, -3_000_005.0])
def test_far_is_as_exact_as_near(cells, draw):
    x = draw(2, 9, 8, dtype=torch.float32)
    found = so.Advection((cells / 4, 0.0), time=4.0, spacing=(1.0, 0.5))(x)
    torch.testing.assert_close(found, x.roll(int(cells), -2), rtol=0, atol=2e-6)


def test_moves_between_cells_are_numpys(draw):
    x = draw(2, 7, 5)
    torch.testing.assert_close(so.Advection((0.3, -1.7))(x), shifted(x, (0.3, -1.7)), rtol=0, atol=1e-13)
    x = draw(2, 7, 8)  # an even axis, whose alternating mode has no sine
    torch.testing.assert_close(so.Advection((0.0, -1.7))(x), shifted(x, (0.0, -1.7)), rtol=0, atol=1e-13)


def test_it_is_the_matrix_exponential(draw):
    x, rows, columns = draw(2, 7, 5), derivative(7), derivative(5)
    system = np.kron(0.8 * rows - 0.2 * rows @ rows, np.eye(5)) + np.kron(
        np.eye(7), -1.3 * columns - 0.1 * columns @ columns
    )
    expected = torch.from_numpy(x.numpy().reshape(2, 35) @ scipy.linalg.expm(-1.7 * system).T).view(2, 7, 5)
    found = so.Advection((0.8, -1.3), (0.2, 0.1), 1.7)(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_central_differences_converge_at_second_order():
    velocity, k, t, errors = (0.6, -0.4), 0.02, 0.5, []
    for n in (16, 32, 64):
        h = 1 / n
        s = torch.arange(n).double() * h
        u = torch.outer(torch.exp(torch.cos(2 * math.pi * s)), torch.sin(2 * math.pi * s))
        exact = so.Advection(velocity, k, t, spacing=h)(u)
        slope = np.eye(n, k=1) - np.eye(n, k=-1) + np.eye(n, k=1 - n) - np.eye(n, k=n - 1)
        steps = [
            torch.from_numpy(scipy.linalg.expm(-t * (c * slope / (2 * h) + k * stencil(n, "periodic") / h**2)))
            for c in velocity
        ]
        errors.append((steps[0] @ u @ steps[1].T - exact).abs().max().item())
    ratios = [a / b for a, b in pairwise(errors)]
    assert errors[-1] < 5e-3 and all(3.5 < r < 4.5 for r in ratios), (errors, ratios)


# -- physics ----------------------------------------------------------------------------------------------------------


def test_mean_energy_reversal_and_semigroup(draw):
    x = draw(7, 5)
    there, back = so.Advection((0.3, 1.7)), so.Advection((-0.3, -1.7))
    torch.testing.assert_close(there(x).mean(), x.mean())
    torch.testing.assert_close(there(x).norm(), x.norm())
    torch.testing.assert_close(back(there(x)), x)
    torch.testing.assert_close(there(there(x)), so.Advection((0.3, 1.7), time=2.0)(x))
    wave = so.Wave(1.0, 2.0, boundary="periodic")
    torch.testing.assert_close(there(wave(x)), wave(there(x)))


def test_each_channel_at_its_own_velocity(draw):
    x, c = draw(2, 3, 8, 5), draw(3)
    found = so.Advection((c, 0.5))(x)
    for i in range(3):
        torch.testing.assert_close(found[:, i], so.Advection((c[i].item(), 0.5))(x[:, i]))
    last = so.Advection((c, 0.5), dims=(1, 2))(x.permute(0, 2, 3, 1))
    torch.testing.assert_close(last.permute(0, 3, 1, 2), found)
    each = so.Advection((torch.stack([c, -c])[:, None, None], 0.5))(x)
    torch.testing.assert_close(each[1], so.Advection((-c, 0.5))(x[1]))


@pytest.mark.parametrize("wall", ["neumann", "dirichlet"])
def test_a_channel_with_walls_along_the_flow(wall, draw):
    x, boundary = draw(2, 6, 9), (wall, "periodic")
    found = so.Advection((0.0, 2.0), 0.4, boundary=boundary)(x)
    torch.testing.assert_close(found, so.Heat(0.4, boundary=boundary)(x).roll(2, -1))
    x = draw(2, 3, 4, 5)
    found = so.Advection((1.0, 0, -2.0), dims=(1, 2, 3), boundary=("periodic", wall, "periodic"))(x)
    torch.testing.assert_close(found, x.roll((1, -2), (1, 3)))
    torch.testing.assert_close(so.Advection(1.0, dims=-1)(x), x.roll(1, -1))


def test_it_is_no_gain(draw):
    """Why it is no operator of the algebra: no factor per mode moves a field, and not all gains commute with it."""
    x, y = draw(64), draw(64)
    moved = so.Advection(1.0, dims=-1)
    ratio = [so.rdftn(moved(z), -1) / so.rdftn(z, -1) for z in (x, y)]
    assert not torch.allclose(ratio[0], ratio[1])  # a gain would not depend on the field
    shift = so.rdftn(moved(torch.eye(64, dtype=torch.float64)), -1).T @ so.fourier_basis(64, dtype=torch.float64).T
    best = torch.diag(shift)  # of all gains the one with the least squared error
    assert (shift - torch.diag(best)).norm() / shift.norm() == pytest.approx(math.sqrt(0.5), abs=1e-12)
    modes = so.Heat(draw(64, 1).exp(), dims=-1, boundary="periodic")  # a diffusivity of each mode by itself
    assert not torch.allclose(moved(modes(x)), modes(moved(x)))


class Wind(nn.Module):
    """A velocity per channel, predicted from the input's mean."""

    needs_input = True

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, grid):
        return self.linear(grid.pooled.to(grid.dtype))[:, None, None]


def test_each_sample_by_what_it_predicts_also_under_autocast(draw):
    x, advection = draw(2, 3, 8, 5, dtype=torch.float32), so.Advection((Wind(), 0.5), 0.1)
    velocity = advection.velocity[0].linear(x.mean((-2, -1)))
    expected = torch.stack([so.Advection((v, 0.5), 0.1)(one) for v, one in zip(velocity, x, strict=True)])
    torch.testing.assert_close(advection(x), expected)
    seen = []
    advection.velocity[0].register_forward_hook(lambda module, inputs, result: seen.append(result[:, 0, 0]))
    with torch.autocast("cpu", torch.bfloat16):
        advection(x)
    torch.testing.assert_close(seen[0], velocity)  # in float32, as every gain


# -- learning, dtypes, graphs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4), (4, 3)])
def test_gradients_with_respect_to_everything(shape, draw):
    inputs = [v.requires_grad_() for v in (draw(1, 2, *shape), draw(2), draw(2), draw(2).exp(), draw(2).exp())]
    function = lambda x, a, b, k, t: so.Advection((a, b), k, t)(x)  # noqa: E731
    assert torch.autograd.gradcheck(function, inputs) and torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)], ids=str
)
def test_low_precision(dtype, bound, draw):
    x, advection = draw(2, 3, 14, 11), so.Advection((nn.Parameter(torch.tensor([0.3, 1.0, -2.0])), 0.7), 0.1)
    exact = copy.deepcopy(advection).double()(x)
    found = advection(x.to(dtype))
    assert found.dtype == dtype and (found.double() - exact).norm() <= bound * exact.norm()
    with torch.autocast("cpu", torch.bfloat16):
        found = advection(x.float())
    assert found.dtype == torch.float32 and (found.double() - exact).norm() <= 2e-2 * exact.norm()


def test_export_compile_and_onnx(draw):
    advection = so.Advection((nn.Parameter(torch.tensor([0.3, 1.0, -2.0])), 0.7), (0.1, 0.2))
    x, dynamic = draw(2, 3, 9, 8, dtype=torch.float32), torch.export.Dim.DYNAMIC
    shapes = ({0: dynamic, 2: dynamic, 3: dynamic},)
    program = torch.export.export(advection, (x,), dynamic_shapes=shapes).module()
    compiled = torch.compile(advection, fullgraph=True, dynamic=True, backend="aot_eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter about itself
        onnx = torch.onnx.export(advection, (x,), dynamo=True, verbose=False, dynamic_shapes=shapes)
    file = io.BytesIO()
    onnx.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for shape in ((2, 3, 9, 8), (3, 3, 6, 13)):
        x = draw(*shape, dtype=torch.float32)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        for result in (program(x), compiled(x), torch.from_numpy(found), torch.func.vmap(advection)(x)):
            torch.testing.assert_close(result, advection(x), rtol=1e-4, atol=2e-5)


def test_names_copies_and_products(draw, count_products):
    advection = so.Advection((nn.Parameter(torch.ones(3)), 0.5), so.Softplus(0.2), dims=(1, 2))
    assert list(advection.state_dict()) == ["heat.diffusivity.raw", "velocity.0"]
    assert repr(advection) == (
        "Advection(velocity=(Parameter[3], 0.5), diffusivity=Softplus(shape=()), time=1, dims=(1, 2))"
    )
    walled = "Advection(velocity=(0, 0), diffusivity=0, time=1, boundary='neumann')"
    assert repr(so.Advection((0, 0), boundary="neumann")) == walled
    assert count_products(lambda: so.Advection((0.3, 0.7), 0.1)(draw(2, 3, 8, 9, dtype=torch.float32))) == 4


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: so.Advection((0.5, 1.0), boundary=("neumann", "periodic")),
            ValueError,
            r"velocity\[0\] must be 0 along dimension -2, whose boundary is 'neumann', got 0\.5: .* only 'periodic'",
        ),
        (lambda: so.Advection((0.0, nn.Parameter(torch.zeros(3))), boundary="dirichlet"), ValueError,
         r"velocity\[1\] must be 0 along dimension -1, whose boundary is 'dirichlet', got Parameter"),
        (lambda: so.Advection(1.0), ValueError, r"velocity must be one quantity for each of the dimensions \(-2, -1\)"),
        (lambda: so.Advection((1.0, 2.0), dims=(1, 2, 3)), ValueError, r"velocity must be one .* \(1, 2, 3\), got \(1"),
        (lambda: so.Advection((1.0, math.nan)), ValueError, r"velocity\[1\] must be finite, got nan"),
        (lambda: so.Advection((1.0, "fast")), TypeError, r"velocity\[1\] must be a float, a tensor, .* got 'fast'"),
        (lambda: so.Advection((1.0, 0.0), (0.1, -0.1)), ValueError, r"diffusivity\[1\] must be >= 0, got -0\.1"),
        (lambda: so.Advection((1.0, 0.0), time=math.inf), ValueError, "time must be finite, got inf"),
        (lambda: so.Advection((torch.ones(4, 4, 1), 0.0))(torch.ones(4, 4)), ValueError,
         r"velocity\[0\] must not differ between modes, got shape \(4, 4, 1\)"),
        (lambda: so.Advection((1.0, 0.0), time=torch.ones(4, 1, 1))(torch.ones(4, 4)), ValueError,
         r"time must not differ between modes, got shape \(4, 1, 1\)"),
        (lambda: so.Advection((1.0, 0.0), (0.1, torch.ones(4, 1)))(torch.ones(4, 4)), ValueError,
         r"diffusivity\[1\] must not differ between modes, got shape \(4, 1\)"),
        (lambda: so.Advection((0.0, so.FromEmbedding(3))), ValueError,
         r"velocity\[1\] must not differ between modes, got FromEmbedding"),
        (lambda: so.Advection((1.0, 0.0), so.SoftplusEmbedding()), ValueError,
         r"diffusivity must not differ between modes, got SoftplusEmbedding\(\), which needs an embedding"),
        (lambda: so.Advection((1.0, 0.0)) @ so.Heat(boundary="periodic"), TypeError, "unsupported operand type"),
        (lambda: so.Heat(boundary="periodic") + so.Advection((1.0, 0.0)), TypeError, "unsupported operand type"),
        (lambda: so.Advection((1.0, 0.0))(torch.ones(4)), ValueError, r"dims=\(-2, -1\) is out of range"),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
