"""What every operator inherits: application, gains and how they align, conversions, tracing, errors."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import scipy.fft
import torch
from torch import nn

from spectral_ops import FromEmbedding, Heat, Softplus, SpectralOperator, apply_gain, laplacian_eigenvalues


class Cauchy(SpectralOperator):
    """The ten lines of the documentation, with a note of the dtype the gain is computed in."""

    def __init__(self, rate=1.0, **grid):
        super().__init__(**grid)
        self.add_quantity("rate", rate, minimum=0.0)

    def multiplier(self, eigenvalues, *, rate):
        self.seen = eigenvalues.dtype, rate.dtype
        return torch.exp(-rate * eigenvalues.sqrt())


def scipy_apply(x, gain, dims):
    options = {"type": 2, "norm": "ortho", "axes": dims}
    return torch.from_numpy(scipy.fft.idctn(scipy.fft.dctn(x.numpy(), **options) * gain.numpy(), **options))


LAYOUTS = [  # shape of x, dims, a gain per cell with C entries or None, as it broadcasts against x
    ((9,), (-1,), None, lambda g: g),
    ((2, 3, 9), (-1,), 3, lambda g: g.T),
    ((2, 9, 3), (1,), 3, lambda g: g),
    ((6, 7), (-2, -1), None, lambda g: g),
    ((3, 6, 7), (-2, -1), 3, lambda g: g.permute(2, 0, 1)),
    ((2, 3, 6, 7), (-2, -1), 3, lambda g: g.permute(2, 0, 1)),
    ((2, 3, 6, 7), (-1, -2), 3, lambda g: g.permute(2, 1, 0)),
    ((2, 6, 7, 3), (1, 2), 3, lambda g: g),
    ((2, 6, 7, 3), (2, 1), 3, lambda g: g.transpose(0, 1)),
    ((2, 6, 3, 7), (1, 3), 3, lambda g: g.transpose(1, 2)),
    ((2, 4, 3, 6, 7), (-2, -1), 3, lambda g: g.permute(2, 0, 1)),
    ((2, 3, 4, 5, 6), (-3, -2, -1), 3, lambda g: g.permute(3, 0, 1, 2)),
    ((2, 1, 1, 3), (1, 2), 3, lambda g: g),
    ((2, 257, 1, 3), (1, 2), 3, lambda g: g),
]


@pytest.mark.parametrize(("shape", "dims", "channels", "place"), LAYOUTS)
def test_gains_align_with_every_layout(shape, dims, channels, place, draw):
    x = draw(*shape)
    sizes = [shape[d] for d in dims]
    operator = Cauchy(draw(*sizes, channels or 1).exp(), dims=dims)  # differs in every cell: no symmetry hides an error
    gain = operator.gain(sizes, dtype=torch.float64)
    assert list(gain.shape) == ([*sizes, channels] if channels else sizes)
    torch.testing.assert_close(operator(x), scipy_apply(x, place(gain), dims), rtol=0, atol=1e-13)
    torch.testing.assert_close(apply_gain(x, gain, dims), operator(x))


def test_a_gain_may_differ_between_samples(draw):
    x, rate = draw(2, 3, 6, 7), draw(2, 1, 1, 3).exp()
    y = Cauchy(rate)(x)
    for b in range(2):
        torch.testing.assert_close(y[b], Cauchy(rate[b, 0, 0])(x[b]))
    gain = draw(2, 6, 7, 3)
    expected = scipy_apply(x, gain.permute(0, 3, 1, 2), (-2, -1))
    torch.testing.assert_close(apply_gain(x, gain), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(apply_gain(x.movedim(1, -1), gain, (1, 2)), expected.movedim(1, -1))


@pytest.mark.parametrize("shape", [(0, 3, 6, 7), (2, 0, 6, 7)])
def test_empty_batches_and_channels(shape):
    assert Cauchy(0.3)(torch.zeros(shape)).shape == shape


def test_non_contiguous_input_is_left_alone(draw):
    x = draw(2, 3, 7, 12)[..., ::2].mT
    before = x.clone()
    torch.testing.assert_close(Cauchy(0.3)(x), Cauchy(0.3)(x.contiguous()), rtol=1e-13, atol=1e-14)
    assert torch.equal(x, before)


def test_every_kind_of_quantity_means_the_same(draw):
    value = 0.37
    kinds = [value, torch.tensor(value), torch.full((3,), value), nn.Parameter(torch.tensor(value)), Softplus(value)]
    expected = torch.exp(-value * laplacian_eigenvalues((6, 7), dtype=torch.float64).sqrt()).float()
    for kind in kinds:
        gain = Cauchy(kind).gain((6, 7))
        torch.testing.assert_close(gain if gain.ndim == 2 else gain[..., 1], expected, rtol=2e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_gains_are_computed_in_single_precision_at_least(dtype, autocast, draw):
    operator, x = Cauchy(torch.tensor([0.3, 0.2, 0.9])), draw(2, 3, 14, 14)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y, gain = operator(x.to(dtype)), operator.gain((14, 14))
    assert operator.seen == (torch.float32,) * 2 and gain.dtype == torch.float32
    assert torch.equal(gain, operator.gain((14, 14)))
    assert y.dtype == dtype
    operator(x.to(dtype))
    assert operator.seen == ((torch.float64 if dtype == torch.float64 else torch.float32),) * 2
    low = autocast or dtype == torch.bfloat16
    bound = 1.5e-2 if low else {torch.float64: 1e-13, torch.float32: 1e-6, torch.float16: 2e-3}[dtype]
    assert (y.double() - operator(x)).norm() / operator(x).norm() < bound


def test_floats_are_constants_tensors_buffers_and_parameters_learn():
    assert list(Cauchy(0.1).state_dict()) == []
    exact = Cauchy(0.1, dims=0).to(torch.bfloat16).gain(5, dtype=torch.float64)
    torch.testing.assert_close(exact.log(), -0.1 * laplacian_eigenvalues(5, dtype=torch.float64).sqrt())
    source, target = Cauchy(torch.tensor([0.1, 0.2])), Cauchy(torch.ones(2))
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.rate, source.rate) and not list(target.parameters())
    assert list(dict(Cauchy(nn.Parameter(torch.ones(2))).named_parameters())) == ["rate"]
    assert list(dict(Cauchy(Softplus()).named_parameters())) == ["rate.raw"]


def test_copies_are_independent(draw):
    x, operator = draw(2, 3, 6, 7), Cauchy(nn.Parameter(draw(3).exp()), laplacian="finite-difference", spacing=0.5)
    expected = operator(x)
    pickled = pickle.loads(pickle.dumps(operator))
    with io.BytesIO() as file:
        torch.save(operator.state_dict(), file)
        file.seek(0)
        loaded = Cauchy(nn.Parameter(torch.ones(3, dtype=torch.float64)), **operator.grid_options)
        loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (copy.deepcopy(operator), pickled, loaded):
        assert torch.equal(other(x), expected)
        with torch.no_grad():
            other.rate.mul_(2)
        assert not torch.allclose(other(x), expected) and torch.equal(operator(x), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_and_device_moves(dtype, draw):
    x, rate = draw(2, 3, 6, 7), draw(3, dtype=torch.float32).exp()
    operator = Cauchy(nn.Parameter(rate.clone())).to(dtype)
    assert operator.rate.dtype == dtype
    torch.testing.assert_close(operator(x), Cauchy(rate.to(dtype).double())(x))
    meta = operator.to("meta")
    assert meta(x.to("meta")).is_meta and meta.gain((6, 7)).is_meta and meta.gain((6, 7)).shape == (6, 7, 3)
    assert repr(meta) == "Cauchy(rate=Parameter[3])"


def test_fake_tensors():
    with torch._subclasses.FakeTensorMode():
        operator = Cauchy(torch.rand(()))
        assert operator(torch.empty(2, 3, 6, 7)).shape == (2, 3, 6, 7) and repr(operator) == "Cauchy(rate=Tensor[])"


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_function_transforms(draw):
    x, rates = draw(4, 3, 6, 7), draw(5, 3).exp()
    operator = Cauchy(nn.Parameter(torch.ones(3, dtype=torch.float64)))
    torch.testing.assert_close(torch.func.vmap(operator)(x), operator(x))
    sweep = torch.func.vmap(lambda rate: torch.func.functional_call(operator, {"rate": rate}, (x,)))(rates)
    torch.testing.assert_close(sweep, torch.stack([Cauchy(rate)(x) for rate in rates]))
    torch.testing.assert_close(torch.func.vmap(lambda rate: Cauchy(rate)(x))(rates), sweep)
    loss = lambda rate: Cauchy(rate)(x).square().sum()  # noqa: E731
    rate = rates[0].clone().requires_grad_()
    torch.testing.assert_close(torch.func.grad(loss)(rate), torch.autograd.grad(loss(rate), rate)[0])
    torch.testing.assert_close(torch.func.jvp(operator, (x,), (x,))[1], operator(x))  # it is linear


def test_multipliers_may_write_to_the_eigenvalues(draw):
    class InPlace(Cauchy):
        def multiplier(self, eigenvalues, *, rate):
            return eigenvalues.sqrt_().mul_(-rate).exp_()

    x = draw(3, 6, 7)
    for _ in range(2):
        torch.testing.assert_close(InPlace(0.3)(x), Cauchy(0.3)(x))


def test_a_quantity_assigned_later_is_checked_where_it_is_used(draw):
    operator = Cauchy(0.3)
    operator.rate = 0.9
    assert torch.equal(operator.gain((6, 7)), Cauchy(0.9).gain((6, 7)))
    operator.rate = -0.1
    with pytest.raises(ValueError, match=r"rate must be >= 0, got -0\.1"):
        operator(draw(6, 7))


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        (Heat(0.3), "Heat(diffusivity=0.3, time=1)"),
        (Heat(torch.ones(2, 3), nn.Parameter(torch.tensor(2.5))), "Heat(diffusivity=Tensor[2, 3], time=2.5)"),
        (Heat(Softplus(1.0, (4,)), dims=(1, 2)), "Heat(diffusivity=Softplus(shape=(4,)), time=1, dims=(1, 2))"),
        (Cauchy(2, spacing=[0.5, 2], laplacian="finite-difference"),
         "Cauchy(rate=2, laplacian='finite-difference', spacing=(0.5, 2.0))"),
        (Cauchy(2, spacing=(0.5, 0.5)), "Cauchy(rate=2, spacing=0.5)"),
    ],
)  # fmt: skip
def test_repr(operator, text):
    assert repr(operator) == text


X = torch.ones(2, 3, 6, 7)
LEARNED = Heat(FromEmbedding(3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: SpectralOperator(),
            TypeError,
            r"must define multiplier\(eigenvalues, \*\*quantities\) or raw_gain\(grid\)",
        ),
        (lambda: Cauchy(dims=(1, 1)), ValueError, r"dims must be distinct, got \(1, 1\)"),
        (lambda: Cauchy(dims="hw"), TypeError, "dims must be an int or a non-empty sequence of ints, got 'hw'"),
        (lambda: Cauchy(spacing=(1.0, 2.0, 3.0)), ValueError, "spacing must be one number or one per axis"),
        (lambda: Cauchy(spacing=0), ValueError, "spacing must be > 0, got 0"),
        (lambda: Cauchy(laplacian="exact"), ValueError, "laplacian must be one of .* got 'exact'"),
        (lambda: Cauchy([0.3]), TypeError, r"rate must be a float, a tensor, .* got \[0.3\]"),
        (lambda: Cauchy()([1.0]), TypeError, "x must be a torch.Tensor, got list"),
        (lambda: Cauchy()(X.long()), TypeError, "x must be a real floating-point tensor, got dtype torch.int64"),
        (lambda: Cauchy()(X[0, 0, 0]), ValueError, r"dims=\(-2, -1\) is out of range .* 1 dimensions"),
        (lambda: Cauchy()(X[..., :0]), ValueError, r"sizes must be positive, got \(6, 0\)"),
        (lambda: Cauchy(torch.ones(4))(X), ValueError, r"gain of shape \(6, 7, 4\) .*: 4 against 3 in dimension 1"),
        (lambda: Cauchy(torch.ones(4))(X[0, 0]), ValueError, "gain must have shape .* for a 2-dimensional input"),
        (lambda: Cauchy(torch.ones(2, 1, 1, 1))(X[0]), ValueError, "gain must have shape .* for a 3-dimensional input"),
        (lambda: apply_gain(X, torch.ones(7, 6)), ValueError, "7 against 6 in dimension 2"),
        (lambda: apply_gain(X, torch.ones(6)), ValueError, r"gain must have shape \(\*sizes\).*got \(6,\)"),
        (lambda: apply_gain(X, torch.ones(6, 7) * 1j), TypeError, "gain must be a real .* got dtype torch.complex64"),
        (lambda: Cauchy().gain(6), ValueError, r"sizes must have one entry per .*\(-2, -1\), got \(6,\)"),
        (lambda: Cauchy().gain((6, 7.0)), TypeError, r"sizes must be ints, got \(6, 7.0\)"),
        (lambda: Cauchy().gain((6, 7), dtype=torch.float16), TypeError, "float32 or torch.float64, got torch.float16"),
        (lambda: LEARNED.gain((6, 7), embedding=X[0]), ValueError, r"embedding must have shape \(\*\(6, 7\), C\)"),
        (lambda: Cauchy().gain((6, 7), pooled="x"), TypeError, "pooled must be a torch.Tensor, got str"),
        (lambda: Cauchy().gain((6, 7), pooled=torch.ones(1, 2, 3)), ValueError, r"pooled must have shape \(C\) or"),
        (lambda: Cauchy()(X, X), TypeError, "positional argument"),
        (lambda: LEARNED(X, embedding=[0.0]), TypeError, "embedding must be a torch.Tensor, got list"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
