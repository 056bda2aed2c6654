"""Targets against independent references: numpy, scipy's DCT, scikit-image's HOG."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from skimage.data import astronaut
from skimage.feature import hog

from backbones.pretraining import Dct, Hog, Pixels, images_from_units, units
from backbones.pretraining.targets import unit_target


@pytest.fixture(scope="module")
def photograph():
    """A piece of a photograph, (96, 128, 3), float64 in [0, 1]."""
    return astronaut()[100:196, 150:278] / 255.0


def as_images(*photographs):
    return torch.from_numpy(np.stack(photographs)).permute(0, 3, 1, 2)


def squares(image, unit):
    """{(row, column): (unit, unit, 3)}, by slicing."""
    rows, columns = image.shape[0] // unit, image.shape[1] // unit
    return {
        (i, j): image[i * unit : (i + 1) * unit, j * unit : (j + 1) * unit] for i in range(rows) for j in range(columns)
    }


def normalised(square, floor=0.0, eps=1e-6):
    return (square - square.mean()) / np.sqrt(max(square.var(ddof=1), floor) + eps)


def test_units_and_back(photograph):
    images = as_images(photograph, photograph[::-1].copy())
    found = units(images, 16)
    assert found.shape == (2, 6, 8, 768)
    for (i, j), square in squares(photograph, 16).items():
        assert np.array_equal(found[0, i, j].numpy(), square.reshape(-1))  # (row, column, channel)
    assert torch.equal(images_from_units(found, 16), images)


@pytest.mark.parametrize("floor", [0.0, 0.02])
def test_pixels(photograph, floor):
    found = Pixels(16, floor=floor)(as_images(photograph))[0]
    for (i, j), square in squares(photograph, 16).items():
        np.testing.assert_allclose(found[i, j], normalised(square, floor).reshape(-1), atol=1e-12)
    variances = {square.var(ddof=1) < 0.02 for square in squares(photograph, 16).values()}
    assert variances == {True, False}  # the floor is met by some units, and not by others


def test_pixels_as_they_are(photograph):
    images = as_images(photograph)
    target = Pixels(16, normalise=False)
    assert torch.equal(target(images), units(images, 16))
    assert torch.equal(target.restore(target(images), images), images)


def test_flat_units_teach_nothing():
    images = 0.5 + 1e-4 * torch.randn(1, 3, 32, 32)
    assert Pixels(16)(images).abs().max() < 0.02 and Pixels(16, floor=0, eps=0)(images).abs().max() > 1


def test_dct(photograph):
    found = Dct(16, modes=5, floor=0)(as_images(photograph))[0]
    assert found.shape[-1] == Dct(16, modes=5).channels(3) == 75
    for (i, j), square in squares(photograph, 16).items():
        expected = dctn(normalised(square), type=2, norm="ortho", axes=(0, 1))[:5, :5]
        np.testing.assert_allclose(found[i, j], expected.reshape(-1), atol=1e-10)


@pytest.mark.parametrize("target", [Pixels(16), Dct(16, modes=16), Pixels(8, floor=0)])
def test_images_are_restored_from_their_targets(target, photograph):
    images = as_images(photograph)
    torch.testing.assert_close(target.restore(target(images), images), images)


def test_few_cosines_restore_a_smooth_image(photograph):
    images, target = as_images(photograph), Dct(16, modes=4)
    restored = target.restore(target(images), images)
    error = (restored - images).square().mean() / (images - images.mean()).square().mean()
    assert 1e-4 < error < 0.2
    means = [units(x, 16).mean(-1) for x in (restored, images)]
    torch.testing.assert_close(*means)


def hog_by_loops(image, cell, bins, eps=1e-5):
    """Of one channel, from the definition."""
    height, width = image.shape
    histograms = np.zeros((height // cell, width // cell, bins))
    for y in range(height):
        for x in range(width):
            down = image[y + 1, x] - image[y - 1, x] if 0 < y < height - 1 else 0.0
            right = image[y, x + 1] - image[y, x - 1] if 0 < x < width - 1 else 0.0
            angle = math.degrees(math.atan2(down, right)) % 180
            for k in range(bins):
                centre = (k + 0.5) * 180 / bins
                distance = min(abs(angle - centre), 180 - abs(angle - centre)) * bins / 180
                share = max(0.0, 1 - distance)
                histograms[y // cell, x // cell, k] += share * math.hypot(down, right) / cell**2
    return histograms / np.sqrt((histograms**2).sum(-1, keepdims=True) + eps**2)


@pytest.mark.parametrize("cell, bins", [(8, 9), (4, 6)])
def test_hog_by_its_definition(photograph, cell, bins):
    image = photograph[:32, :48]
    found = Hog(16, cell, bins)(as_images(image))[0]
    n = 16 // cell
    for channel in range(3):
        expected = hog_by_loops(image[..., channel], cell, bins)
        ours = found.reshape(2, 3, n, n, 3, bins)[..., channel, :].numpy()
        ours = ours.transpose(0, 2, 1, 3, 4).reshape(2 * n, 3 * n, bins)
        np.testing.assert_allclose(ours, expected, atol=1e-10)


def test_hog_is_scikit_images_where_orientations_are_the_bins_own():
    """Scikit-image gives each pixel to one bin; so do we where its orientation is the bin's centre."""
    ramps = np.zeros((24, 9 * 24))
    y, x = np.mgrid[:24, :24]
    for k in range(9):
        angle = math.radians(20 * k + 10)
        ramps[:, 24 * k : 24 * k + 24] = (1 + k) * (math.cos(angle) * x + math.sin(angle) * y)
    theirs = hog(
        ramps, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(1, 1), block_norm="L2", feature_vector=False
    ).reshape(3, 27, 9)
    ours = Hog(8, 8, 9)(torch.from_numpy(ramps)[None, None])[0].numpy()
    inner = [3 * k + 1 for k in range(9)]  # elsewhere pixels lie at an edge of a ramp
    np.testing.assert_allclose(ours[1, inner], theirs[1, inner], atol=1e-4)
    assert ours[1, inner].argmax(-1).tolist() == list(range(9))


def test_hog_is_near_scikit_images_on_a_photograph(photograph):
    channel = photograph[..., 1]
    theirs = hog(
        channel, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(1, 1), block_norm="L2", feature_vector=False
    ).reshape(12, 16, 9)
    ours = Hog(8, 8, 9)(torch.from_numpy(channel.copy())[None, None])[0].numpy()
    cosine = (ours * theirs).sum(-1)
    assert cosine.mean() > 0.9 and np.roll(ours, 4, -1).ravel() @ theirs.ravel() / len(theirs) / 16 < 0.8


def test_hog_does_not_see_contrast(photograph):
    images = as_images(photograph)
    torch.testing.assert_close(Hog()(images), Hog()(2 * images + 1), atol=1e-3, rtol=0)


@pytest.mark.parametrize("target", [Pixels(), Dct(), Hog()])
def test_dtypes_and_gradients(target, photograph):
    images = as_images(photograph).float().requires_grad_()
    found = target(images)
    assert found.dtype == torch.float32 and not found.requires_grad
    assert found.shape == (1, 6, 8, target.channels(3))
    half = target(images.bfloat16())
    assert half.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(target(images), found)
    assert target.restore(found, images) is None if isinstance(target, Hog) else True


def test_errors():
    with pytest.raises(KeyError, match=r"target must be one of \['dct', 'hog', 'pixels'\], got 'rgb'"):
        unit_target("rgb")
    for make, words in (
        (lambda: Pixels(0), "unit must be a positive int, got 0"),
        (lambda: Pixels(floor=-1), "floor must be a number of at least 0, got -1"),
        (lambda: Pixels(eps=None), "eps must be a number of at least 0, got None"),
        (lambda: Dct(8, modes=9), r"modes must be an int in 1\.\.8, the unit, got 9"),
        (lambda: Hog(16, cell=5), "cell must divide the unit of 16 px"),
        (lambda: Hog(16, eps=0), "eps must be a number above 0"),
        (lambda: Hog()(torch.randn(1, 3, 24, 32)), "multiples of the unit of 16 px, got 24 x 32 px"),
        (lambda: Pixels()(torch.randn(1, 3, 24, 32)), "multiples of the unit of 16 px, got 24 x 32 px"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(TypeError, match=r"images must be floats, got torch\.uint8"):
        Pixels()(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
