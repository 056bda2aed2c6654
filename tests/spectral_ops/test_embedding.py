"""Spectral embeddings and how they move between resolutions."""

from __future__ import annotations

import pytest
import torch

from spectral_ops import SpectralEmbedding, resize_embedding

SIZES = [(7, 7), (10, 16), (3, 5), (14, 4), (1, 1), (2, 29)]


def cubic(t: float) -> list[float]:
    """Keys' kernel with a = -0.75 at the four neighbours of a sample ``t`` past the second."""
    a = -0.75
    near = lambda d: (a + 2) * d**3 - (a + 3) * d**2 + 1  # noqa: E731
    far = lambda d: a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a  # noqa: E731
    return [far(1 + t), near(t), near(1 - t), far(2 - t)]


def interpolation(old: int, new: int) -> torch.Tensor:
    """The matrix of bicubic interpolation along one axis, cell centres aligned, ends repeated."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        position = (i + 0.5) * old / new - 0.5
        base = int(position // 1)
        for offset, weight in zip(range(-1, 3), cubic(position - base), strict=True):
            matrix[i, min(max(base + offset, 0), old - 1)] += weight
    return matrix


@pytest.mark.parametrize("sizes", SIZES)
def test_bicubic(sizes, draw):
    values = draw(7, 6, 3)
    expected = torch.einsum("ah,bw,hwc->abc", interpolation(7, sizes[0]), interpolation(6, sizes[1]), values)
    torch.testing.assert_close(resize_embedding(values, sizes), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("sizes", SIZES)
def test_pad(sizes, draw):
    values = draw(7, 6, 3)
    expected = torch.zeros(*sizes, 3, dtype=torch.float64)
    for n in range(min(7, sizes[0])):
        for m in range(min(6, sizes[1])):
            expected[n, m] = values[n, m]
    assert torch.equal(resize_embedding(values, sizes, "pad"), expected)


@pytest.mark.parametrize("rule", ["bicubic", "pad"])
def test_module(rule, draw):
    embedding = SpectralEmbedding((7, 6), 3, rule)
    assert 0 < embedding.weight.std() < 0.04
    for sizes in SIZES:
        assert torch.equal(embedding(sizes), resize_embedding(embedding.weight, sizes, rule))
    assert torch.equal(embedding((7, 6)), embedding.weight)
    assert repr(embedding) == f"SpectralEmbedding(sizes=(7, 6), channels=3, rule={rule!r})"
    embedding.double()
    assert torch.autograd.gradcheck(lambda _: embedding((4, 9)), (embedding.weight,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_weights_interpolate_in_single_precision(dtype):
    embedding = SpectralEmbedding((7, 6), 3).to(dtype)
    out = embedding((9, 5))
    assert out.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(out.double(), resize_embedding(embedding.weight.double(), (9, 5)), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", ["bicubic", "pad"])
def test_export_covers_its_own_size_and_others(rule, draw):
    class Lookup(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = SpectralEmbedding((7, 6), 3, rule)

        def forward(self, x):
            return x + self.embedding(x.shape[:2])

    module, dynamic = Lookup(), torch.export.Dim.DYNAMIC
    x = torch.zeros(9, 5, 3)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: dynamic, 1: dynamic},)).module()
    for sizes in ((9, 5), (7, 6), (7, 9), (3, 6), (20, 31)):
        x = draw(*sizes, 3, dtype=torch.float32)
        torch.testing.assert_close(program(x), module(x))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SpectralEmbedding(7, 3), ValueError, r"sizes must be \(H, W\), got \(7,\)"),
        (lambda: SpectralEmbedding((7, 7, 7), 3), ValueError, r"sizes must be \(H, W\), got \(7, 7, 7\)"),
        (lambda: SpectralEmbedding((7, 0), 3), ValueError, r"sizes must be positive, got \(7, 0\)"),
        (lambda: SpectralEmbedding((7, 7), 0), ValueError, r"channels must be positive, got \(0,\)"),
        (lambda: SpectralEmbedding((7, 7), 3.0), TypeError, "channels must be ints, got 3.0"),
        (lambda: SpectralEmbedding((7, 7), 3, "linear"), ValueError, "rule must be one of .*'pad'.* got 'linear'"),
        (lambda: SpectralEmbedding((7, 7), 3)((7, 7, 7)), ValueError, r"sizes must be \(H, W\), got \(7, 7, 7\)"),
        (lambda: resize_embedding(torch.ones(7, 7), (3, 3)), ValueError, r"values must have shape .* got \(7, 7\)"),
        (lambda: resize_embedding(torch.ones(7, 7, 2).long(), (3, 3)), TypeError, "values must be a real floating"),
        (lambda: resize_embedding([1.0], (3, 3)), TypeError, "values must be a torch.Tensor, got list"),
        (lambda: resize_embedding(torch.ones(7, 7, 2), (3, 3), "crop"), ValueError, "rule must be one of .*'crop'"),
        (lambda: resize_embedding(torch.ones(7, 7, 2), (3,)), ValueError, r"sizes must be \(H, W\), got \(3,\)"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
