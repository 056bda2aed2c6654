"""Noise of a stated spectral slope."""

import numpy as np
import pytest
from rs_scenes.fields import moved, noise_field
from scipy.fft import dctn


@pytest.mark.parametrize("beta", [0, 1.6, 3.6])
def test_power_falls_as_stated(beta):
    power = np.mean([dctn(noise_field(np.random.default_rng(i), 64, beta), norm="ortho") ** 2 for i in range(20)], 0)
    radius = np.hypot(*np.mgrid[:64, :64])
    inside = (radius >= 2) & (radius < 64)
    slope = np.polyfit(np.log(radius[inside]), np.log(power[inside]), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.05)


def test_mean_and_deviation_are_exact():
    field = noise_field(np.random.default_rng(1), 48, 2.0)
    assert field.mean() == pytest.approx(0, abs=1e-12) and field.std() == pytest.approx(1, abs=1e-12)


def test_moved_lets_in_zeros():
    array = np.arange(1, 10).reshape(3, 3)
    assert np.array_equal(moved(array, 1, -1), [[0, 0, 0], [2, 3, 0], [5, 6, 0]])
    assert np.array_equal(moved(array, -2, 0), [[7, 8, 9], [0, 0, 0], [0, 0, 0]])
    assert not moved(array, 0, 3).any() and np.array_equal(moved(array, 0, 0), array)
