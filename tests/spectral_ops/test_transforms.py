"""The cosine transforms: convention, references, dtypes, tracing, errors."""

from __future__ import annotations

import math

import pytest
import scipy.fft
import torch
from torch import Tensor

from spectral_ops import cosine_basis, dct, dctn, dst, idct, idctn

SIZES = (1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 64, 97, 128, 200, 257)
LAYOUTS = [
    ((5,), 0),
    ((6, 7), (-2, -1)),
    ((2, 3, 6, 7), (-2, -1)),
    ((2, 6, 7, 3), (1, 2)),
    ((2, 6, 7, 3), (2, 1)),
    ((4, 5, 6), (0, 2)),
    ((2, 3, 4, 5, 6), (-3, -2, -1)),
    ((2, 4, 5, 6, 3), (1, 2, 3)),
    ((2, 3, 1, 1), (-2, -1)),
]


def relative_error(value: Tensor, reference: object) -> float:
    reference = torch.as_tensor(reference, dtype=torch.float64)
    return float((value.double() - reference).norm() / reference.norm())


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("n", SIZES)
def test_every_size_has_the_numbers_of_scipy(n, dtype, bound, draw):
    x = draw(3, n)
    assert relative_error(dct(x.to(dtype)), scipy.fft.dct(x.numpy(), type=2, norm="ortho")) <= bound
    assert relative_error(idct(x.to(dtype)), scipy.fft.idct(x.numpy(), type=2, norm="ortho")) <= bound


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("kind", ["cosine", "sine"])
def test_all_sizes_up_to_257(kind, dtype, bound, draw):
    ours, theirs = {"cosine": (dct, scipy.fft.dct), "sine": (dst, scipy.fft.dst)}[kind]
    errors = []
    for n in range(1, 258):
        x = draw(2, n)
        errors.append(relative_error(ours(x.to(dtype)), theirs(x.numpy(), type=2, norm="ortho")))
    assert max(errors) <= bound


@pytest.mark.parametrize(("shape", "dims"), LAYOUTS)
def test_every_layout_has_the_numbers_of_scipy(shape, dims, draw):
    x = draw(*shape)
    options = {"type": 2, "norm": "ortho", "axes": dims}
    assert relative_error(dctn(x, dims), scipy.fft.dctn(x.numpy(), **options)) <= 1e-13
    assert relative_error(idctn(x, dims), scipy.fft.idctn(x.numpy(), **options)) <= 1e-13


@pytest.mark.parametrize("view", ["mT", "strided", "expanded", "channels_last", "offset"])
def test_strides_do_not_matter(view, draw):
    x = draw(2, 3, 8, 8)
    x = {
        "mT": x.mT,
        "strided": x[..., ::2, 1::3],
        "expanded": x[:1, :1].expand(2, 3, 8, 8),
        "channels_last": x.to(memory_format=torch.channels_last),
        "offset": x[1:, 1:, 2:, 3:],
    }[view]
    before = x.clone()
    for transform in (dctn, idctn):
        torch.testing.assert_close(transform(x), transform(x.contiguous()), rtol=1e-13, atol=1e-13)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("shape", "dims"), [((0, 3, 6, 7), (-2, -1)), ((0, 6, 7, 3), (1, 2)), ((2, 6, 7, 0), (1, 2))])
def test_empty_batches_and_channels(shape, dims):
    assert dctn(torch.zeros(shape), dims).shape == idctn(torch.zeros(shape), dims).shape == shape
    modes = [4 if d in dims else n for d, n in enumerate(shape)] if dims == (1, 2) else [*shape[:2], 4, 4]
    assert list(dctn(torch.zeros(shape), dims, modes=(4, 4)).shape) == modes


@pytest.mark.parametrize(("height", "width", "n", "m"), [(6, 7, 0, 0), (6, 7, 5, 0), (6, 7, 2, 6), (1, 9, 0, 4)])
def test_a_cosine_is_one_coefficient(height, width, n, m):
    y, x = torch.arange(height).double() + 0.5, torch.arange(width).double() + 0.5
    field = torch.outer(torch.cos(math.pi * n * y / height), torch.cos(math.pi * m * x / width))
    expected = torch.zeros(height, width, dtype=torch.float64)
    expected[n, m] = math.sqrt(height / (2 if n else 1)) * math.sqrt(width / (2 if m else 1))
    torch.testing.assert_close(dctn(field), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(idctn(expected), field, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n", [*SIZES, 1024])
def test_the_basis_is_orthogonal_even_when_cast(n):
    identity = torch.eye(n, dtype=torch.float64)
    exact, cast = cosine_basis(n, dtype=torch.float64), cosine_basis(n).double()
    torch.testing.assert_close(exact @ exact.T, identity, rtol=0, atol=1e-13)
    torch.testing.assert_close(cast @ cast.T, identity, rtol=0, atol=1.2e-7)
    assert torch.equal(cosine_basis(n, 1, dtype=torch.float64), exact[:1])


def test_sixteen_round_trips_lose_nothing(draw):
    x = y = draw(2, 3, 31, 20, dtype=torch.float32)
    for _ in range(16):
        y = idctn(dctn(y))
    assert relative_error(y, x) <= 3e-6


def test_norms_and_inner_products_are_kept(draw):
    x, y = draw(2, 13, 16), draw(2, 13, 16)
    torch.testing.assert_close((dctn(x) * dctn(y)).sum((-2, -1)), (x * y).sum((-2, -1)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dims", "modes"), [((-2, -1), (4, 5)), ((1, 2), (1, 13)), ((2, 1), (3, 2))])
def test_modes_are_the_lowest_and_sizes_synthesise_them(dims, modes, draw):
    x = draw(2, 13, 16)
    kept = dctn(x, dims, modes=modes)
    index = [slice(None)] * 3
    for d, m in zip(dims, modes, strict=True):
        index[d] = slice(m)
    full = dctn(x, dims)
    torch.testing.assert_close(kept, full[tuple(index)], rtol=0, atol=1e-13)
    padded = torch.zeros_like(full)
    padded[tuple(index)] = kept
    torch.testing.assert_close(idctn(kept, dims, sizes=[x.shape[d] for d in dims]), idctn(padded, dims))
    assert dct(x, 1, modes=4).shape == (2, 4, 16) and idct(x, 1, size=40).shape == (2, 40, 16)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 2e-3), (torch.bfloat16, 1.5e-2)])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision(dtype, bound, autocast, draw):
    exact = draw(2, 56, 56)
    x = exact.float() if autocast else exact.to(dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        spectrum = dctn(x)
        y = idctn(spectrum)
    assert spectrum.dtype == y.dtype == x.dtype
    assert bound / 50 < relative_error(y, exact) < bound  # the products did run in half precision


@pytest.mark.parametrize("transform", [dctn, idctn])
def test_gradients(transform, draw):
    x = draw(2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(transform, (x,)) and torch.autograd.gradgradcheck(transform, (x,))
    assert torch.autograd.gradcheck(lambda x: dctn(x, modes=(2, 1)), (x,))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch itself, on the first jvp
def test_function_transforms(draw):
    x = draw(5, 6, 7)
    torch.testing.assert_close(torch.func.vmap(dctn)(x), dctn(x))
    torch.testing.assert_close(torch.func.vmap(lambda x: dct(x, 0), in_dims=2, out_dims=2)(x), dct(x, 0))
    torch.testing.assert_close(torch.func.jacrev(dct)(x[0, 0]), cosine_basis(7, dtype=torch.float64))
    torch.testing.assert_close(torch.func.jvp(dctn, (x,), (2 * x,))[1], 2 * dctn(x))


def test_meta_and_fake_tensors_have_shapes_only():
    assert dctn(torch.empty(2, 6, 7, device="meta"), modes=(3, 4)).shape == (2, 3, 4)
    with torch._subclasses.FakeTensorMode():
        assert idctn(torch.empty(2, 6, 7), sizes=(8, 9)).shape == (2, 8, 9)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dctn([1.0]), TypeError, "x must be a torch.Tensor, got list"),
        (lambda: dctn(torch.ones(2, 3, dtype=torch.int64)), TypeError, "x must be a real .* got dtype torch.int64"),
        (lambda: idctn(torch.ones(2, 3) * 1j), TypeError, "x must be a real .* got dtype torch.complex64"),
        (lambda: dctn(torch.ones(2, 3), dims=(0, -2)), ValueError, r"dims must be distinct, got \(0, -2\)"),
        (lambda: dctn(torch.ones(2, 3), dims=2), ValueError, r"dims=\(2,\) is out of range for .* 2 dimensions"),
        (lambda: dctn(torch.ones(())), ValueError, "out of range for a tensor with 0 dimensions"),
        (lambda: dctn(torch.ones(2, 3), dims=()), TypeError, r"dims must be an int or a non-empty .* got \(\)"),
        (lambda: dctn(torch.ones(2, 3), dims=1.5), TypeError, "dims must be .* sequence of ints, got 1.5"),
        (lambda: dctn(torch.ones(2, 3), dims=(True,)), TypeError, r"dims must be .* got \(True,\)"),
        (lambda: dctn(torch.ones(2, 0)), ValueError, r"transformed sizes must be positive, got \(2, 0\)"),
        (lambda: idctn(torch.ones(0, 3)), ValueError, r"transformed sizes must be positive, got \(0, 3\)"),
        (lambda: dctn(torch.ones(2, 3), modes=(2, 4)), ValueError, r"modes must be at most .*\(2, 3\), got \(2, 4\)"),
        (lambda: dctn(torch.ones(2, 3), modes=2), ValueError, "modes must give one int for each of 2 .* got 2"),
        (lambda: dctn(torch.ones(2, 3), modes=(2, 0)), ValueError, r"modes must be positive, got \(2, 0\)"),
        (lambda: idctn(torch.ones(2, 3), sizes=(4, 2)), ValueError, r"sizes must be at least .*\(2, 3\), got \(4, 2\)"),
        (lambda: cosine_basis(4, 5), ValueError, "modes must be between 1 and the size n=4, got 5"),
        (lambda: cosine_basis(4, 3.0), TypeError, "modes must be ints, got 3.0"),
        (lambda: cosine_basis(4, True), TypeError, "modes must be ints, got True"),
        (lambda: cosine_basis((4, 5)), ValueError, r"n must give one int .* got \(4, 5\)"),
        (lambda: cosine_basis(0), ValueError, r"n must be positive, got \(0,\)"),
        (lambda: cosine_basis(4, dtype=torch.int64), TypeError, "dtype must be a real .* got torch.int64"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    cosine_basis(4, 1), cosine_basis(4, 3)  # a cached entry must not answer for a wrong argument equal to its key
    with pytest.raises(error, match=message):
        call()
