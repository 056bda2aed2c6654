"""Frequency bands: known modes, sums, the published split, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft
import torch

from backbones.remote_sensing import frequency_bands


def _image(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _mode(u, v, height, width):
    rows = torch.cos(math.pi * u * (torch.arange(height, dtype=torch.float64) + 0.5) / height)
    columns = torch.cos(math.pi * v * (torch.arange(width, dtype=torch.float64) + 0.5) / width)
    return (rows[:, None] * columns)[None, None]


@pytest.mark.parametrize("rule", ["radius", "area"])
@pytest.mark.parametrize("pad", [None, "power-of-two"])
@pytest.mark.parametrize("size", [(16, 16), (7, 30), (1, 5), (33, 12)])
def test_bands_sum_to_the_image(size, pad, rule):
    image = _image(2, 5, *size)
    bands = frequency_bands(image, [0.1, 0.3, 0.7], rule=rule, pad=pad)
    assert len(bands) == 4 and all(band.shape == image.shape for band in bands)
    assert torch.allclose(sum(bands), image, atol=1e-12)


@pytest.mark.parametrize(("u", "v", "band"), [(0, 0, 0), (2, 0, 0), (0, 5, 1), (3, 4, 1), (9, 14, 2), (0, 19, 2)])
def test_a_mode_is_in_the_band_of_its_radius(u, v, band):
    """On 10 x 20: rho = sqrt(u^2 / 100 + v^2 / 400) / sqrt 2, edges at 0.15 and 0.4."""
    mode = _mode(u, v, 10, 20)
    rho = math.sqrt((u / 10) ** 2 + (v / 20) ** 2) / math.sqrt(2)
    assert band == (rho >= 0.15) + (rho >= 0.4)
    for i, found in enumerate(frequency_bands(mode, [0.15, 0.4])):
        assert torch.allclose(found, mode if i == band else torch.zeros_like(mode), atol=1e-12)


def test_against_scipy():
    image = _image(1, 2, 12, 18)
    low, high = frequency_bands(image, [0.3])
    spectrum = scipy.fft.dctn(image.numpy(), type=2, norm="ortho", axes=(2, 3))
    for u in range(12):
        for v in range(18):
            if math.hypot(u / 12, v / 18) / math.sqrt(2) >= 0.3:
                spectrum[:, :, u, v] = 0
    expected = torch.from_numpy(scipy.fft.idctn(spectrum, type=2, norm="ortho", axes=(2, 3)))
    assert torch.allclose(low, expected, atol=1e-12) and torch.allclose(high, image - expected, atol=1e-12)


def test_the_area_rule_keeps_a_share():
    impulse = torch.zeros(1, 1, 32, 48, dtype=torch.float64)
    impulse[0, 0, 0, 0] = 1  # has every mode
    for share in (0.05, 0.25, 0.8):
        low, _ = frequency_bands(impulse, [share], rule="area")
        kept = (scipy.fft.dctn(low.numpy(), type=2, norm="ortho", axes=(2, 3)) ** 2 > 1e-12).mean()
        assert kept == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize(("sigma", "share"), [(0.05, 0.4), (0.1, 1.6), (0.2, 6.4), (0.3, 14.3)])
def test_the_published_shares(sigma, share):
    """In per cent of the modes of 256 x 256, which 224 px become."""
    impulse = torch.zeros(1, 1, 224, 224, dtype=torch.float64)
    impulse[0, 0, 0, 0] = 1
    low, _ = frequency_bands(torch.nn.functional.pad(impulse, [0, 32, 0, 32]), [sigma], constant="both")
    kept = (scipy.fft.dctn(low.numpy(), type=2, norm="ortho", axes=(2, 3)) ** 2 > 1e-12).mean()
    assert 100 * kept == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("size", [(32, 32), (24, 24), (20, 50)])
@pytest.mark.parametrize("sigma", [0.1, 0.25, 0.3])
def test_the_published_split(sigma, size):
    image = _image(1, 3, *size)
    height, width = (2 ** math.ceil(math.log2(n)) for n in size)
    padded = torch.zeros(1, 3, height, width, dtype=torch.float64)
    padded[:, :, : size[0], : size[1]] = image
    spectrum = scipy.fft.dctn(padded.numpy(), type=2, norm="ortho", axes=(2, 3))
    low, high = spectrum.copy(), spectrum.copy()
    edge = sigma * math.sqrt(height**2 + width**2)
    for u in range(height):
        for v in range(width):
            distance = math.sqrt(u**2 + v**2)
            if 0 < distance < edge:
                high[:, :, u, v] = 0
            if distance > edge:
                low[:, :, u, v] = 0
    found = frequency_bands(image, [sigma], constant="both", pad="power-of-two")
    for ours, theirs in zip(found, (low, high), strict=True):
        expected = torch.from_numpy(scipy.fft.idctn(theirs, type=2, norm="ortho", axes=(2, 3)))
        assert torch.allclose(ours, expected[:, :, : size[0], : size[1]], atol=1e-12)


def test_the_constant_mode_in_every_band():
    image = _image(2, 3, 9, 14)
    bands = frequency_bands(image, [0.2, 0.5], constant="both")
    mean = image.mean((2, 3), keepdim=True)
    assert all(torch.allclose(band.mean((2, 3), keepdim=True), mean) for band in bands)
    assert torch.allclose(sum(bands), image + 2 * mean)
    flat = frequency_bands(image, [1e-6, 0.5])[0]  # an edge below every other mode
    assert torch.allclose(flat, mean.expand_as(flat))


def test_types_and_gradients():
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        image = _image(1, 3, 16, 16, dtype=dtype)
        with torch.autocast("cpu", torch.bfloat16):
            bands = frequency_bands(image, [0.3])
        assert {band.dtype for band in bands} == {dtype}
        exact = frequency_bands(image.double(), [0.3])
        tolerance = 1e-5 if dtype == torch.float32 else 1e-2
        assert all(torch.allclose(a.double(), b, atol=tolerance) for a, b in zip(bands, exact, strict=True))
    image = _image(1, 1, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: frequency_bands(x, [0.3], pad="power-of-two"), image)


@pytest.mark.parametrize(
    ("image", "options", "kind", "message"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), {}, TypeError, "of floating point, got torch.uint8"),
        (torch.zeros(3, 8, 8), {}, ValueError, r"image must have shape \(B, C, H, W\), got \(3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8), {"edges": []}, ValueError, r"ascending numbers between 0 and 1, got \[\]"),
        (torch.zeros(1, 3, 8, 8), {"edges": [0.5, 0.2]}, ValueError, "ascending"),
        (torch.zeros(1, 3, 8, 8), {"edges": [1.5]}, ValueError, "between 0 and 1"),
        (torch.zeros(1, 3, 8, 8), {"rule": "disc"}, ValueError, r"rule must be one of \('radius', 'area'\)"),
        (torch.zeros(1, 3, 8, 8), {"constant": "none"}, ValueError, "constant must be one of"),
        (torch.zeros(1, 3, 8, 8), {"pad": 2}, ValueError, r"pad must be one of \(None, 'power-of-two'\), got 2"),
    ],
)
def test_bad_input(image, options, kind, message):
    with pytest.raises(kind, match=message):
        frequency_bands(image, **{"edges": [0.3], **options})


def test_edges_of_numpy_are_numbers():
    image = torch.rand(1, 2, 12, 16, generator=torch.Generator().manual_seed(0))
    expected = frequency_bands(image, [0.125, 0.5])
    for edges in (np.array([0.125, 0.5]), [np.float32(0.125), np.float64(0.5)]):
        assert all(map(torch.equal, frequency_bands(image, edges), expected))
