"""Dirichlet walls and periodic axes, and the transforms behind them; the FFT backend for every kind of transform."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch

from spectral_ops import (
    Heat,
    Wave,
    dct,
    dctn,
    dst,
    dstn,
    idct,
    idctn,
    idst,
    idstn,
    irdftn,
    laplacian_eigenvalues,
    rdftn,
    sine_basis,
    use_kernels,
)
from spectral_ops import transforms as module

SIZES = (1, 2, 3, 4, 5, 8, 13, 31, 64, 97, 128, 257)


def real_fourier(x, type, norm, axes):
    """Along one axis, from numpy's FFT: 1, cos, sin, cos, sin, ... ``type`` 2 is the transform, 3 its inverse."""
    n = x.shape[axes]
    if type == 3:
        return x @ real_fourier(np.eye(n), 2, norm, -1).T  # orthonormal
    z = np.fft.rfft(x, norm=norm, axis=axes)
    rows = [z[..., 0].real]
    for k in range(1, n // 2 + 1):
        rows += [z[..., k].real] if 2 * k == n else [np.sqrt(2) * z[..., k].real, -np.sqrt(2) * z[..., k].imag]
    return np.stack(rows, -1)


FORWARD = {"cosine": (dctn, scipy.fft.dctn), "sine": (dstn, scipy.fft.dstn), "fourier": (rdftn, real_fourier)}
INVERSE = {
    "cosine": (idctn, scipy.fft.idctn),
    "sine": (idstn, scipy.fft.idstn),
    "fourier": (irdftn, lambda x, type, norm, axes: real_fourier(x, 3, norm, axes)),
}


def relative_error(value, reference):
    reference = torch.as_tensor(reference, dtype=torch.float64)
    return float((value.double() - reference).norm() / reference.norm())


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize(
    ("kind", "backend"),
    [("sine", "matmul"), ("sine", "fft"), ("cosine", "fft"), ("fourier", "matmul"), ("fourier", "fft")],
)
@pytest.mark.parametrize("n", SIZES)
def test_every_size_has_the_numbers_of_scipy(n, kind, backend, dtype, bound, draw):
    x = draw(3, n)
    for ours, theirs in (FORWARD[kind], INVERSE[kind]):
        found = ours(x.to(dtype), -1, backend=backend)
        assert found.dtype == dtype
        assert relative_error(found, theirs(x.numpy(), type=2, norm="ortho", axes=-1)) <= bound


@pytest.mark.parametrize("kind", FORWARD)
@pytest.mark.parametrize(
    ("shape", "dims"), [((2, 3, 6, 7), (-2, -1)), ((2, 6, 7, 3), (2, 1)), ((2, 4, 5, 6, 3), (1, 2, 3))]
)
def test_backends_agree_in_every_layout(shape, dims, kind, draw):
    x = draw(*shape).transpose(0, -1).contiguous().transpose(0, -1)
    keep = [2, 3, 1][: len(dims)]
    for transform, option in ((FORWARD[kind][0], "modes"), (INVERSE[kind][0], "sizes")):
        expected = transform(x, dims, backend="matmul")
        torch.testing.assert_close(transform(x, dims, backend="fft"), expected)
        other = keep if option == "modes" else [9, 8, 7][: len(dims)]
        torch.testing.assert_close(
            transform(x, dims, backend="fft", **{option: other}),
            transform(x, dims, backend="matmul", **{option: other}),
        )


@pytest.mark.parametrize("backend", ["matmul", "fft"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_half_precision_is_kept(backend, dtype, bound, draw):
    x = draw(2, 14, 14)
    for forward, inverse in ((dstn, idstn), (rdftn, irdftn)):
        y = inverse(forward(x.to(dtype), backend=backend), backend=backend)
        assert y.dtype == dtype and relative_error(y, x) < bound
        with torch.autocast("cpu", torch.bfloat16):
            assert relative_error(inverse(forward(x.float(), backend=backend), backend=backend), x) < 1e-2


def test_gradients_through_the_fft(draw):
    x = draw(2, 3, 4).requires_grad_()
    for transform in (dctn, idctn, dstn, idstn, rdftn, irdftn):
        function = lambda x, transform=transform: transform(x, backend="fft")  # noqa: E731
        assert torch.autograd.gradcheck(function, x) and torch.autograd.gradgradcheck(function, x)


def test_one_dimension_and_empty_batches(draw):
    x = draw(4, 7)
    for forward, inverse in ((dct, idct), (dst, idst)):
        for backend in ("auto", "matmul", "fft"):
            torch.testing.assert_close(inverse(forward(x, 0, backend=backend), 0, backend=backend), x)
            assert forward(x, modes=3, backend=backend).shape == (4, 3)
            assert inverse(x, size=9, backend=backend).shape == (4, 9)
            assert forward(torch.zeros(0, 7), backend=backend).shape == (0, 7)


def test_auto_takes_the_fft_from_the_documented_size_on(monkeypatch, draw):
    taken = []
    monkeypatch.setattr("spectral_ops._fft.analyse", lambda kind, x, dim, modes: taken.append(x.shape[dim]) or x)
    with use_kernels(fft_from={"cpu": 8}):
        dctn(draw(2, 7, 8))
        assert taken == [8]
        dctn(draw(2, 7, 8), backend="matmul")
        assert taken == [8]
        rdftn(draw(2, 3, 4), (1, 2))  # periodic dimensions from half of it on
        assert taken == [8, 4]
        taken.pop()
    with use_kernels(fft_from={}):
        dctn(draw(2, 7, 8))
    assert taken == [8]


def test_traced_graphs_hold_products_unless_told(monkeypatch, draw):
    monkeypatch.setattr("spectral_ops._fft.analyse", None)  # calling it would fail
    x = draw(3, 8)
    compiled = torch.compile(dct, backend="eager", fullgraph=True)
    with use_kernels(fft_from={"cpu": 2}):
        torch.testing.assert_close(compiled(x), dct(x, backend="matmul"))


def test_without_torch_dct(monkeypatch, draw):
    monkeypatch.setattr(module, "_has_torch_dct", lambda: False)
    x = draw(3, 8)
    with use_kernels(fft_from={"cpu": 2}):
        torch.testing.assert_close(dct(x), dct(x, backend="matmul"))
    torch.testing.assert_close(rdftn(x, -1, backend="fft"), rdftn(x, -1, backend="matmul"))  # torch's own
    with pytest.raises(ModuleNotFoundError, match="backend='fft' needs torch-dct: pip install torch-dct"):
        dct(x, backend="fft")


def test_errors():
    with pytest.raises(ValueError, match=r"backend must be one of \('auto', 'matmul', 'fft'\), got 'numpy'"):
        dctn(torch.ones(4, 4), backend="numpy")
    with pytest.raises(ValueError, match="modes must be between 1 and the size n=4, got 5"):
        sine_basis(4, 5)
    with pytest.raises(ValueError, match="boundary must be one of"):
        laplacian_eigenvalues((4, 4), boundary="robin")
    with pytest.raises(ValueError, match="must share dims, laplacian, boundary and spacing"):
        Heat() + Wave(boundary="dirichlet")


def test_sine_eigenvalues_and_basis():
    values = laplacian_eigenvalues(5, boundary="dirichlet", dtype=torch.float64)
    torch.testing.assert_close(values, ((torch.arange(5).double() + 1) * torch.pi / 5) ** 2)
    basis = sine_basis(5, dtype=torch.float64)
    torch.testing.assert_close(basis @ basis.T, torch.eye(5, dtype=torch.float64))
    assert sine_basis(5, 2).shape == (2, 5)


def test_heat_leaks_through_cold_walls(draw):
    x = draw(2, 3, 9, 8).abs()
    warm = [Heat(1.0, t, boundary="dirichlet")(x).sum() for t in (0.0, 1.0, 10.0, 1e4)]
    assert warm[0] > warm[1] > warm[2] > warm[3] and warm[3].abs() < 1e-12
    gain = Heat(1.0, boundary="dirichlet").gain((9, 8))
    assert (gain < 1).all()
    assert repr(Heat(boundary="dirichlet")) == "Heat(diffusivity=1, time=1, boundary='dirichlet')"
