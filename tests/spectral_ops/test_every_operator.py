"""What holds for every operator: spatial dimensions, layouts, dtypes, tracing, saving, long runs."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import scipy.fft
import torch
from torch import nn

import spectral_ops as so

LEARNABLE = {
    "heat": lambda p, **g: so.Heat(p(0.3), p(1.2), **g),
    "fractional": lambda p, **g: so.FractionalHeat(p(0.3), p(0.6), p(1.2), **g),
    "biharmonic": lambda p, **g: so.Biharmonic(p(0.2), p(1.2), **g),
    "reaction": lambda p, **g: so.ReactionDiffusion(p(0.3), p(0.1), p(1.2), **g),
    "wave": lambda p, **g: so.Wave(p(0.7), p(1.2), p(0.4), **g),
    "plate": lambda p, **g: so.Plate(p(0.5), p(1.2), p(0.4), **g),
    "poisson": lambda p, **g: so.Poisson(p(0.4), **g),
    "identity": lambda p, **g: so.Identity(**g),
}
#: The same gains, written with numpy from the equations.
GAINS = {
    "heat": lambda v: np.exp(-0.36 * v),
    "fractional": lambda v: np.exp(-0.36 * v**0.6),
    "biharmonic": lambda v: np.exp(-0.24 * v**2),
    "reaction": lambda v: np.exp(-1.2 * (0.3 * v + 0.1)),
    "wave": lambda v: oscillator(0.49 * v),
    "plate": lambda v: oscillator(0.25 * v**2),
    "poisson": lambda v: 1 / (v + 0.16),
    "identity": np.ones_like,
}
every = pytest.mark.parametrize("name", LEARNABLE)


def oscillator(squared, time=1.2, damping=0.4):
    root = np.sqrt((squared - (damping / 2) ** 2).astype(complex))
    return (np.exp(-damping * time / 2) * (np.cos(root * time) + damping / 2 * np.sin(root * time) / root)).real


def plain(value: float) -> float:
    return value


def per_channel(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value, 1.1 * value, 0.8 * value]))


@every
@pytest.mark.parametrize(
    ("shape", "dims", "spacing"),
    [
        ((2, 3, 11), (-1,), 0.5),
        ((11, 3), (0,), 2.0),
        ((2, 3, 6, 7), (-2, -1), (0.5, 2.0)),
        ((2, 6, 7, 3), (1, 2), 1.0),
        ((2, 3, 4, 5, 6), (-3, -2, -1), (1.0, 0.5, 2.0)),
        ((2, 4, 5, 6, 3), (1, 2, 3), 1.5),
        ((2, 3, 1, 1), (-2, -1), 1.0),
    ],
)
def test_one_two_and_three_dimensions_with_spacing_against_scipy(name, shape, dims, spacing, draw):
    x = draw(*shape)
    axes = [d % x.ndim for d in dims]
    steps = (spacing,) * len(dims) if isinstance(spacing, float) else spacing
    values = np.zeros([n if d in axes else 1 for d, n in enumerate(shape)])
    for axis, step in zip(axes, steps, strict=True):
        line = (np.pi * np.arange(shape[axis]) / (shape[axis] * step)) ** 2
        values = values + line.reshape([-1 if d == axis else 1 for d in range(x.ndim)])
    modes = scipy.fft.dctn(x.numpy(), norm="ortho", axes=axes) * GAINS[name](values)
    expected = torch.from_numpy(scipy.fft.idctn(modes, norm="ortho", axes=axes))
    operator = LEARNABLE[name](plain, dims=dims, spacing=spacing)
    torch.testing.assert_close(operator(x), expected, rtol=0, atol=1e-12)


@every
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)], ids=str
)
def test_low_precision_inputs_and_weights(name, dtype, bound, draw):
    x = draw(2, 3, 14, 12)
    operator = LEARNABLE[name](per_channel)
    exact = copy.deepcopy(operator).double()(x)
    found = operator.to(dtype)(x.to(dtype))
    assert found.dtype == dtype
    assert (found.double() - exact).norm() <= bound * exact.norm()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = copy.deepcopy(operator).float()(x.float())
    assert mixed.dtype == torch.float32 and (mixed.double() - exact).norm() <= 2e-2 * exact.norm()


@every
def test_saving_copying_and_meta_construction(name, draw):
    x = draw(2, 3, 9, 8, dtype=torch.float32)
    operator, other = LEARNABLE[name](per_channel), LEARNABLE[name](lambda v: nn.Parameter(torch.ones(3)))
    assert all(tuple(t.shape) == (3,) for t in operator.state_dict().values())  # no bases
    other.load_state_dict(operator.state_dict())
    assert torch.equal(other(x), operator(x)) and torch.equal(copy.deepcopy(operator)(x), operator(x))
    with torch.device("meta"):
        empty = LEARNABLE[name](lambda v: nn.Parameter(torch.empty(3)))
    assert empty(x.to("meta")).shape == x.shape
    empty.to_empty(device="cpu").load_state_dict(operator.state_dict())
    assert torch.equal(empty(x), operator(x))


@every
def test_export_compile_and_function_transforms(name, draw):
    operator, x = LEARNABLE[name](per_channel), draw(2, 3, 9, 8, dtype=torch.float32)
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(operator, (x,), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},)).module()
    compiled = torch.compile(operator, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 3, 9, 8), (3, 3, 5, 12)):
        x = draw(*shape, dtype=torch.float32)
        torch.testing.assert_close(program(x), operator(x))
        torch.testing.assert_close(compiled(x), operator(x))
    torch.testing.assert_close(torch.func.vmap(operator)(x), operator(x))
    slope = torch.func.grad(lambda x: operator(x).square().sum())(x)
    torch.testing.assert_close(slope, 2 * operator(operator(x)), rtol=1e-4, atol=1e-5)  # self-adjoint


@every
def test_float32_stays_at_rounding_level_after_a_thousand_steps(name, draw):
    """Relative to one step of float64 with the gain's power; only operators that do not blow up."""
    x = draw(3, 16, 16)
    operator = LEARNABLE[name](plain)
    gain = operator.gain((16, 16), dtype=torch.float64)
    gain = gain / gain.abs().max()
    y = x.float()
    for _ in range(1000):
        y = so.apply_gain(y, gain.float())
    exact = so.apply_gain(x, gain**1000)
    assert (y.double() - exact).norm() <= 1e-3 * x.norm()


def test_mean_and_energy_survive_a_thousand_steps_in_float32(draw):
    x = draw(3, 16, 16, dtype=torch.float32) + 1
    heat, y = so.Heat(0.05, 0.01), x
    for _ in range(1000):
        y = heat(y)
    torch.testing.assert_close(y.mean((1, 2)), x.mean((1, 2)), rtol=2e-5, atol=0)
    torch.testing.assert_close(y, so.Heat(0.05, 10.0)(x), rtol=0, atol=1000 * torch.finfo(torch.float32).eps)
    wave, u, v = so.Wave(1.0, 0.3), x, torch.zeros_like(x)
    squared = so.laplacian_eigenvalues((16, 16))
    energy = lambda u, v: (squared * so.dctn(u) ** 2 + so.dctn(v) ** 2).sum().item()  # noqa: E731
    before = energy(u, v)
    for _ in range(1000):
        u, v = wave.step(u, v)
    assert energy(u, v) == pytest.approx(before, rel=2e-4)


def test_composition_of_everything_is_one_transform_pair(draw, count_products):
    parts = [build(per_channel) for build in LEARNABLE.values()]
    expression = sum(parts[1:], parts[0]) @ parts[4] - 0.3 * so.Mixture(parts, [1 / len(parts)] * len(parts))
    x = draw(2, 3, 9, 8, dtype=torch.float32)
    assert count_products(lambda: expression(x)) == 4
    assert math.isfinite(expression(x).sum().item())
    assert expression.gain((9, 8)).shape == (9, 8, 3)


@pytest.mark.parametrize(
    ("operator", "shape"),
    [
        (so.Poisson(), (1000, 64)),
        (so.Poisson(0.003), (32, 32)),
        (so.Heat(0.1, 7e4).source_response(), (32, 32)),
    ],
    ids=repr,
)
def test_gains_beyond_float16_do_not_overflow(operator, shape, draw):
    f = draw(*shape)
    f = ((f - f.mean()) / 16).half()
    expected = operator(f.double())
    found = operator(f)
    assert found.dtype == torch.float16 and expected.abs().max() < 6e4
    assert torch.isfinite(found).all() and (found.double() - expected).norm() < 2e-2 * expected.norm()
    with torch.autocast("cpu", torch.float16):
        found = operator(f.float())
    assert torch.isfinite(found).all() and (found.double() - expected).norm() < 2e-2 * expected.norm()


def test_rates_beyond_the_dtype_are_cut_off():
    fast = so.FractionalHeat(1.0, order=8.0, time=0.0, spacing=1e-3)
    assert torch.equal(fast.gain((4, 4)), torch.ones(4, 4))
    assert torch.equal(so.Biharmonic(1.0, 0.0, spacing=1e-10).gain((4, 4)), torch.ones(4, 4))
    order = nn.Parameter(torch.tensor(32.0))
    so.FractionalHeat(1.0, order)(torch.randn(64, 64)).square().sum().backward()
    assert torch.isfinite(order.grad)
