"""Numbers of numpy in every place that takes a number, and what is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectral_ops import (
    Heat,
    InputRouter,
    Mixture,
    SpectralEmbedding,
    cosine_basis,
    dct,
    dctn,
    laplacian_eigenvalues,
    resize_embedding,
    use_kernels,
)
from spectral_ops.scalars import as_float, as_int

INTS = [np.int64(4), np.int32(4), np.uint8(4)]
FLOATS = [np.float64(0.5), np.float32(0.5), np.float16(0.5)]


@pytest.mark.parametrize("n", INTS)
def test_ints(n, draw):
    x = draw(2, 4, 6, dtype=torch.float32)
    assert torch.equal(Heat(0.3).gain((n, 6)), Heat(0.3).gain((4, 6)))
    assert torch.equal(laplacian_eigenvalues(n), laplacian_eigenvalues(4))
    assert torch.equal(cosine_basis(n), cosine_basis(4))
    assert torch.equal(dctn(x, dims=(type(n)(1), type(n)(2))), dctn(x, dims=(1, 2)))
    assert torch.equal(dct(x, type(n)(1)), dct(x, 1))
    assert Heat(dims=(type(n)(1), type(n)(2))).dims == Heat(dims=(1, 2)).dims
    assert resize_embedding(draw(2, 2, 3), (n, n)).shape == (4, 4, 3)
    assert SpectralEmbedding((n, n), n)((n, 6)).shape == (4, 6, 4)
    assert Heat(n).diffusivity == 4 and type(Heat(n).diffusivity) is int
    with use_kernels(fft_from={"cpu": n}):
        pass
    assert [type(size) for size in Heat(dims=(type(n)(1), type(n)(2))).dims] == [int, int]


@pytest.mark.parametrize("f", FLOATS)
def test_floats(f):
    heat = Heat(f, time=f, spacing=f)
    assert repr(heat) == repr(Heat(0.5, time=0.5, spacing=0.5)) and type(heat.diffusivity) is type(heat.time) is float
    assert torch.equal(heat.gain((4, 6)), Heat(0.5, 0.5, spacing=0.5).gain((4, 6)))
    mixed = Mixture([heat, heat], weights=[f, f])
    assert torch.equal(mixed.gain((4, 6)), heat.gain((4, 6)))
    for expression in (f * heat, heat * f, heat / np.int64(2)):
        assert torch.equal(expression.gain((4, 6)), 0.5 * heat.gain((4, 6)))


def test_an_endless_time_of_numpy():
    """Also where it is assigned later, and no longer a float of Python."""
    heat = Heat(0.5, np.float32(math.inf))
    assert torch.equal(heat.gain((4, 4)), Heat(0.5, math.inf).gain((4, 4)))
    heat = Heat(0.5)
    heat.time = np.float32(math.inf)
    assert torch.equal(heat.gain((4, 4)), Heat(0.5, math.inf).gain((4, 4)))


@pytest.mark.parametrize("bad", [True, np.True_, 4.0, np.float64(4), "4", None, torch.tensor(4), np.array([4, 4])])
def test_what_is_no_int(bad):
    assert as_int(bad) is None
    with pytest.raises(TypeError, match="sizes must be ints, got "):
        Heat().gain((4, bad))
    with pytest.raises(TypeError, match="dims must be an int or a non-empty sequence of ints, got "):
        Heat(dims=(1, bad))


@pytest.mark.parametrize("bad", [True, np.True_, "4", None, 1j, np.complex64(1), np.array([0.5])])
def test_what_is_no_number(bad):
    assert as_float(bad) is None
    with pytest.raises(TypeError, match="diffusivity must be a float, a tensor, "):
        Heat(bad)
    with pytest.raises(TypeError, match="weights must be floats"):
        Mixture([Heat(0.1)], weights=[bad])


@pytest.mark.parametrize("bad", [-1, np.int64(0)])
def test_sizes_are_positive(bad):
    with pytest.raises(ValueError, match="sizes must be positive"):
        Heat().gain((4, bad))
    with pytest.raises(ValueError, match="weights must have 2 entries"):
        Mixture([Heat(), Heat()], weights=InputRouter(4, np.int64(3)))
