"""Eigenvalues of the negative Laplacian with insulated walls."""

from __future__ import annotations

import math

import pytest
import scipy.special
import torch

from spectral_ops import cosine_basis, laplacian_eigenvalues
from spectral_ops.eigenvalues import LAPLACIANS


@pytest.mark.parametrize("sizes", [(7,), (1,), (6, 5), (1, 9), (3, 4, 5)])
@pytest.mark.parametrize("laplacian", LAPLACIANS)
def test_each_mode_adds_one_term_per_axis(sizes, laplacian):
    values = laplacian_eigenvalues(sizes, laplacian=laplacian, dtype=torch.float64)
    assert values.shape == sizes
    for mode in torch.cartesian_prod(*map(torch.arange, sizes)).view(-1, len(sizes)).tolist():
        angles = [math.pi * n / size for n, size in zip(mode, sizes, strict=True)]
        expected = sum(a**2 if laplacian == "spectral" else 2 - 2 * math.cos(a) for a in angles)
        assert values[tuple(mode)].item() == pytest.approx(expected, rel=1e-13, abs=1e-15)


def test_a_bare_int_is_one_axis():
    assert torch.equal(laplacian_eigenvalues(5), laplacian_eigenvalues((5,)))


@pytest.mark.parametrize("n", [1, 2, 7, 16])
def test_finite_differences_are_the_spectrum_of_the_stencil(n):
    stencil = 2 * torch.eye(n, dtype=torch.float64)
    stencil -= torch.diag(torch.ones(n - 1).double(), 1) + torch.diag(torch.ones(n - 1).double(), -1)
    stencil[0, 0] -= 1  # the mirror image of the first and the last cell is the cell itself
    stencil[-1, -1] -= 1
    basis = cosine_basis(n, dtype=torch.float64)
    expected = torch.diag(laplacian_eigenvalues(n, laplacian="finite-difference", dtype=torch.float64))
    torch.testing.assert_close(basis @ stencil @ basis.T, expected, rtol=0, atol=1e-13)


def test_low_modes_keep_every_digit():
    n = 100_000
    reference = -2 * scipy.special.cosm1(torch.arange(n).double().numpy() * math.pi / n)
    values = laplacian_eigenvalues(n, laplacian="finite-difference", dtype=torch.float64)
    torch.testing.assert_close(values, torch.from_numpy(reference), rtol=2e-15, atol=0)


@pytest.mark.parametrize("laplacian", LAPLACIANS)
def test_spacing_is_a_length(laplacian):
    options = {"laplacian": laplacian, "dtype": torch.float64}
    unit, rows = laplacian_eigenvalues((6, 5), **options), laplacian_eigenvalues((6, 1), **options)
    torch.testing.assert_close(laplacian_eigenvalues((6, 5), spacing=0.5, **options), 4 * unit)
    both = laplacian_eigenvalues((6, 5), spacing=(0.5, 2.0), **options)
    torch.testing.assert_close(both, 4 * rows + (unit - rows) / 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_computed_in_float64_and_then_cast(dtype):
    values = laplacian_eigenvalues((30, 41), dtype=dtype)
    assert values.dtype == dtype
    assert torch.equal(values, laplacian_eigenvalues((30, 41), dtype=torch.float64).to(dtype))


def test_meta_device():
    assert laplacian_eigenvalues((6, 5), device="meta").is_meta


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sizes": (4, 0)}, ValueError, r"sizes must be positive, got \(4, 0\)"),
        ({"sizes": ()}, ValueError, r"sizes must not be empty, got \(\)"),
        ({"sizes": (4, 2.0)}, TypeError, r"sizes must be ints, got \(4, 2.0\)"),
        ({"sizes": 4.0}, TypeError, "sizes must be ints, got 4.0"),
        ({"sizes": True}, TypeError, "sizes must be ints, got True"),
        ({"sizes": (4, 5), "spacing": (1.0,)}, ValueError, r"spacing must be .* one per axis, 2 in all, got \(1\.0,\)"),
        ({"sizes": 4, "spacing": 0.0}, ValueError, "spacing must be > 0, got 0"),
        ({"sizes": 4, "spacing": None}, TypeError, "spacing must be one number or one per axis, got None"),
        ({"sizes": 4, "spacing": "a"}, TypeError, "spacing must be one number or one per axis, got 'a'"),
        ({"sizes": (4, 5), "spacing": (1.0, -2.0)}, ValueError, r"spacing\[1\] must be > 0, got -2"),
        ({"sizes": 4, "spacing": math.inf}, ValueError, "spacing must be finite, got inf"),
        ({"sizes": 4, "laplacian": "fft"}, ValueError, "laplacian must be one of .*'finite-difference'.*got 'fft'"),
        ({"sizes": 4, "dtype": torch.int32}, TypeError, "dtype must be a real .* got torch.int32"),
    ],
)
def test_errors_name_the_argument(arguments, error, message):
    laplacian_eigenvalues((4, 2))
    laplacian_eigenvalues(1)  # equal, as a key, to some of the wrong arguments
    with pytest.raises(error, match=message):
        laplacian_eigenvalues(**arguments)
