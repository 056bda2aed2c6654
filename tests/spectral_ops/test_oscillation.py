"""Waves and plates: dense linear algebra in all regimes, a time stepper, energy, reversal, gradients, errors."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch
from dense_laplacian import apply, minus_laplacian, stencil

from spectral_ops import Heat, Plate, VelocityResponse, Wave
from spectral_ops._functions import oscillator

FINITE = {"laplacian": "finite-difference"}
KINDS = ("field to velocity", "velocity to velocity")


def flow(squared_frequency: np.ndarray, damping: float, time: float) -> np.ndarray:
    """The propagator of (u, u_t) as one matrix exponential."""
    n = len(squared_frequency)
    system = np.block([[np.zeros((n, n)), np.eye(n)], [-squared_frequency, -damping * np.eye(n)]])
    return scipy.linalg.expm(time * system)


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet", "periodic"])
@pytest.mark.parametrize("damping", [0.0, 0.3, 2.0, 20.0])  # no, few, about half and all modes over-damped
@pytest.mark.parametrize("equation", ["wave", "plate"])
def test_field_and_velocity_are_the_systems(equation, damping, boundary, draw):
    laplacian = minus_laplacian(4, 5, boundary)
    grid = {"boundary": boundary, **FINITE}
    if equation == "wave":
        operator, squared = Wave(0.8, 1.3, damping, **grid), 0.64 * laplacian
    else:
        operator, squared = Plate(0.8, 1.3, damping, **grid), 0.64 * laplacian @ laplacian
    u, v = draw(2, 4, 5), draw(2, 4, 5)
    propagator = flow(squared, damping, 1.3)
    field = apply(propagator[:20, :20], u) + apply(propagator[:20, 20:], v)
    velocity = apply(propagator[20:, :20], u) + apply(propagator[20:, 20:], v)
    torch.testing.assert_close(operator(u, velocity=v), field, rtol=0, atol=1e-12)
    torch.testing.assert_close(operator(u), apply(propagator[:20, :20], u), rtol=0, atol=1e-12)
    found = operator.step(u, v)
    torch.testing.assert_close(found[0], field, rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1], velocity, rtol=0, atol=1e-12)


@pytest.mark.parametrize("damping", [0.0, 3.0])
def test_leapfrog_converges_at_second_order(damping):
    """Halving h and the step of the explicit scheme quarters the error."""
    speed, time, errors = 1.0, 0.4, []
    for n in (16, 32, 64):
        h = 1 / n
        x = (torch.arange(n).double() + 0.5) * h
        u = torch.outer(torch.exp(-20 * (x - 0.5) ** 2), x**2 * (3 - 2 * x))
        v = torch.outer(x**2 * (3 - 2 * x), torch.cos(math.pi * x))
        exact = Wave(speed, time, damping, spacing=h)(u, velocity=v)
        laplacian = torch.from_numpy(stencil(n)) / h**2
        force = lambda w: -(speed**2) * (laplacian @ w + w @ laplacian)  # noqa: B023, E731
        steps = math.ceil(time / (0.5 * h))
        dt = time / steps
        before, now = u, u + dt * v + dt**2 / 2 * (force(u) - damping * v)
        for _ in range(steps - 1):
            drag = damping * dt / 2
            before, now = now, (2 * now - (1 - drag) * before + dt**2 * force(now)) / (1 + drag)
        errors.append((now - exact).abs().max().item())
    ratios = [a / b for a, b in pairwise(errors)]
    assert errors[-1] < 2e-3 and all(3.5 < r < 4.5 for r in ratios), (errors, ratios)


def test_a_pulse_travels_at_its_speed():
    """d'Alembert: half of it goes each way, unchanged."""
    n, speed, time = 256, 2.0, 20.0
    x = torch.arange(n).double()
    pulse = lambda centre: torch.exp(-((x - centre) ** 2) / 50)  # noqa: E731
    found = Wave(speed, time, dims=-1)(pulse(128))
    torch.testing.assert_close(found, (pulse(88) + pulse(168)) / 2, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("operator", "squared_frequency"),
    [(lambda t: Wave(0.9, t), lambda v: 0.81 * v), (lambda t: Plate(0.4, t), lambda v: 0.16 * v**2)],
    ids=["wave", "plate"],
)
def test_energy_and_reversal(operator, squared_frequency, draw):
    u, v = draw(2, 9, 8), draw(2, 9, 8)
    squared = squared_frequency(eigenvalues(9, 8))

    def energy(*fields):
        field, velocity = (scipy.fft.dctn(w.numpy(), norm="ortho", axes=(-2, -1)) for w in fields)
        return torch.from_numpy(squared * field**2 + velocity**2)

    after = operator(3.0).step(u, v)
    torch.testing.assert_close(energy(*after), energy(u, v), rtol=1e-10, atol=1e-10)
    for found, expected in zip(operator(-3.0).step(*after), (u, v), strict=True):
        torch.testing.assert_close(found, expected)


def eigenvalues(height, width):
    rows, columns = (np.pi * np.arange(n) / n for n in (height, width))
    return rows[:, None] ** 2 + columns[None, :] ** 2


def test_damping_only_loses_energy(draw):
    u, v = draw(9, 8), draw(9, 8)
    wave, energies = Wave(1.0, 0.5, 0.7, **FINITE), []
    laplacian = minus_laplacian(9, 8)
    for _ in range(20):
        flat = u.numpy().ravel()
        energies.append(float(flat @ laplacian @ flat) + float((v**2).sum()))
        u, v = wave.step(u, v)
    assert all(a > b for a, b in pairwise(energies)) and energies[-1] < 0.1 * energies[0]


def test_limits(draw):
    u, v = draw(2, 9, 8), draw(2, 9, 8)
    torch.testing.assert_close(Wave(1.0, 0.0, 0.3)(u, velocity=v), u)
    torch.testing.assert_close(Wave(0.0, 4.0)(u, velocity=v), u + 4 * v)
    settled = (u + v / 0.5).mean((-2, -1), keepdim=True).expand_as(u)
    torch.testing.assert_close(Wave(1.0, 1e4, 0.5)(u, velocity=v), settled, rtol=0, atol=1e-12)
    # strong damping is slow diffusion: a u_t = c^2 lap u
    torch.testing.assert_close(Wave(1.0, 1e4, 1e4)(u), Heat(1.0)(u), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_functions_of_a_mode_against_complex_arithmetic(dtype, sign):
    w = torch.cat([torch.zeros(1), torch.logspace(-4, 2, 241)]).to(dtype)[:, None]
    b = sign * torch.cat([torch.zeros(1), torch.logspace(-6, 1.3, 147)]).to(dtype)[None, :]
    found = oscillator(w, b)
    exact_w, exact_b = w.double().numpy(), b.double().numpy()
    root = np.sqrt((exact_w**2 - exact_b**2).astype(complex))
    sinc = np.where(np.abs(root) < 1e-7, 1, np.sin(root) / np.where(np.abs(root) < 1e-7, 1, root)).real
    fade, cos = np.exp(-exact_b), np.cos(root).real
    # the angle w and the exponent b are themselves rounded in the dtype; modes of negative time grow
    scale = torch.exp(2 * b.double().abs()) if sign < 0 else 1
    tolerance = 40 * torch.finfo(dtype).eps * (1 + w.double() + b.double().abs()) * scale
    for value, exact in zip(found, (cos + exact_b * sinc, sinc, cos - exact_b * sinc), strict=True):
        assert ((value.double() - torch.from_numpy(fade * exact)).abs() <= tolerance).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradients_across_the_critical_point(sign):
    """w = |b| is critical: exactly there, close by, and far on both sides."""
    w = torch.tensor([0.0, 1e-6, 0.5, 1 - 1e-9, 1.0, 1 + 1e-9, 1.4142, 1.4143, 6.0], dtype=torch.float64)
    for size in (0.3, 1.0, 4.0):
        inputs = (w.clone().requires_grad_(), torch.full_like(w, sign * size).requires_grad_())
        assert torch.autograd.gradcheck(oscillator, inputs, atol=1e-6)
        assert torch.autograd.gradgradcheck(oscillator, inputs, atol=1e-5)


def test_over_damped_modes_do_not_cancel():
    """In float32, against float64: every entry of the propagator relative to itself."""
    for time in (1.0, 100.0):
        wave = Wave(1.0, time, 1000.0)
        for operator in (wave, wave.velocity_response(), *(VelocityResponse(wave, k) for k in KINDS)):
            single, double = (operator.gain((8, 8), dtype=d).double() for d in (torch.float32, torch.float64))
            torch.testing.assert_close(single, double, rtol=1e-4, atol=1e-30)


def test_huge_times_have_the_limit():
    expected = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(Wave(1.0, 1e20, 1.0).gain((2, 2)), expected)
    torch.testing.assert_close(Wave(1.0, 1e19, 1.0).gain((2, 2)), expected)
    torch.testing.assert_close(Wave(0.0, 4e19, 1.0).gain((2, 2)), torch.ones(2, 2))
    assert torch.isfinite(Plate(1.0, 1e30, 1e-3).gain((4, 4))).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_stay_finite_at_any_time(dtype):
    x = torch.randn(3, 16, 16, dtype=dtype)
    for time in (0.0, 1e-6, 1.0, 1e3, 1e6):
        for damping in (0.0, 1e-6, 0.1, math.pi / 8, 2 * math.pi, 1e3, 1e6):  # pi / 8 is critical for mode (0, 1)
            quantities = [torch.tensor(v, dtype=dtype, requires_grad=True) for v in (1.0, time, damping)]
            y = Wave(*map(torch.nn.Parameter, quantities))
            out = y(x, velocity=x)
            assert torch.isfinite(out).all(), (time, damping)
            out.square().sum().backward()
            assert all(torch.isfinite(p.grad).all() for p in y.parameters()), (time, damping)


@pytest.mark.parametrize("kind", [Wave, Plate])
def test_no_damping_is_damping_of_nothing(kind):
    values = [torch.tensor([0.0, 1e-3, 0.8, 30.0], dtype=torch.float64, requires_grad=True) for _ in range(2)]
    nothing = torch.zeros(4, dtype=torch.float64)
    for damping in (0.0, 0):
        plain, general = (kind(*map(torch.nn.Parameter, values), a) for a in (damping, nothing))
        gains = [operator.gain((5, 7), dtype=torch.float64) for operator in (plain, general)]
        torch.testing.assert_close(*gains, rtol=0, atol=1e-11)
        weight = torch.randn_like(gains[0])
        grads = [
            torch.autograd.grad(gain, list(operator.parameters()), weight)
            for gain, operator in zip(gains, (plain, general), strict=True)
        ]
        torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-9)


def test_gradients_with_respect_to_everything(draw):
    inputs = [v.requires_grad_() for v in (draw(2, 2, 3), draw(2, 2, 3), *(draw(2).exp() for _ in range(3)))]
    for kind in (Wave, Plate):
        function = lambda u, v, c, t, a, kind=kind: kind(c, t, a)(u, velocity=v)  # noqa: E731
        assert torch.autograd.gradcheck(function, inputs) and torch.autograd.gradgradcheck(function, inputs)


def test_velocity_costs_one_more_forward_transform(draw, count_products):
    u, v, wave = draw(2, 6, 7), draw(2, 6, 7), Wave(1.0, 2.0)
    assert count_products(lambda: wave(u)) == 4 and count_products(lambda: wave(u, velocity=v)) == 6
    assert count_products(lambda: wave.step(u, v)) == 8  # two dims of two forward and two inverse transforms
    assert repr(wave.velocity_response()) == "VelocityResponse(Wave(speed=1, time=2, damping=0), 'velocity to field')"


def test_published_moppa_wave_is_a_plate():
    plate = Plate(0.7, 1.3).gain((6, 7), dtype=torch.float64)
    torch.testing.assert_close(plate, torch.cos(0.7 * 1.3 * torch.from_numpy(eigenvalues(6, 7))))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Wave(speed=-1), ValueError, "speed must be >= 0, got -1"),
        (lambda: Wave(time=math.inf), ValueError, "time must be finite, got inf"),
        (lambda: Wave(damping=-0.1), ValueError, "damping must be >= 0, got -0.1"),
        (lambda: Plate(stiffness=math.nan), ValueError, "stiffness must be finite, got nan"),
        (lambda: VelocityResponse(Heat()), TypeError, "oscillation must be an Oscillation such as Wave, got Heat"),
        (lambda: VelocityResponse(Wave(), "sideways"), ValueError, "kind must be one of"),
        (lambda: Wave()(torch.ones(4, 4), velocity=torch.ones(1, 4)), ValueError, "fields must share shape"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
