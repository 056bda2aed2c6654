"""The pictures show the numbers they claim to."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from spectral_ops import Heat, InputRouter, Mixture, Softplus, Wave, laplacian_eigenvalues, plot


@pytest.fixture(autouse=True)
def _headless():
    matplotlib.use("Agg")
    yield
    plt.close("all")


def test_spectrum_shows_the_gain():
    operator = Wave(1.0, 2.0)
    image = plot.spectrum(operator, (6, 9)).images[0]
    np.testing.assert_allclose(image.get_array(), operator.gain((6, 9), dtype=torch.float64))
    assert image.norm.vmin == -image.norm.vmax


def test_channels_and_their_mean():
    heat = Heat(torch.tensor([0.1, 0.5]))
    gain = heat.gain((4, 5), dtype=torch.float64)
    for channel, expected in ((None, gain.mean(-1)), (1, gain[..., 1])):
        np.testing.assert_allclose(plot.spectrum(heat, (4, 5), channel=channel).images[0].get_array(), expected)
    plot.kernel(Heat(Softplus(0.3, (4,))), (8, 8), channel=2)  # learnable quantities are drawn too


def test_radial_profile_is_the_function_of_the_wave_number():
    axes = plot.radial_profile(Heat(0.3, spacing=0.5), (6, 9), color="black")
    (line,) = axes.lines
    x, y = line.get_data()
    assert len(x) == 54 and (np.diff(x) >= 0).all() and line.get_color() == "black"
    np.testing.assert_allclose(y, np.exp(-0.3 * x**2), atol=1e-12)
    np.testing.assert_allclose(x[-1] ** 2, laplacian_eigenvalues((6, 9), spacing=0.5).max(), rtol=1e-6)


def test_the_profile_of_one_axis():
    operator = Heat((0.1, 0.7), spacing=(1.0, 0.5), boundary=("neumann", "periodic"))
    for axis, k in enumerate((0.1, 0.7)):
        (line,) = plot.radial_profile(operator, (6, 9), axis=axis).lines
        x, y = line.get_data()
        assert len(x) == (6, 9)[axis]
        np.testing.assert_allclose(y, np.exp(-k * x**2), atol=1e-12)
    np.testing.assert_allclose(x, 2 * np.pi * np.array([0, 1, 1, 2, 2, 3, 3, 4, 4]) / 9 / 0.5)
    assert len(plot.radial_profile(operator, (6, 9)).lines[0].get_data()[0]) == 54


def test_labels_say_which_axis_is_periodic():
    axes = plot.spectrum(Heat(0.3, boundary=("dirichlet", "periodic")), (6, 9))
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("n", "m: 1, cos, sin, cos, ...")


@pytest.mark.parametrize("boundary", ["periodic", ("dirichlet", "periodic")])
def test_kernels_between_any_walls(boundary):
    operator, field = Heat((0.3, 2.0), boundary=boundary), torch.zeros(7, 8, dtype=torch.float64)
    field[2, 0] = 1
    response = operator(field)
    shown = plot.kernel(operator, (7, 8), point=(2, 0)).images[0].get_array()
    np.testing.assert_allclose(shown, response.sign() * (response.abs() / response.abs().max()).sqrt(), atol=1e-7)
    assert response[2, 7] > 0.8 * response[2, 1]  # the other side is the neighbour


def test_kernel_is_the_response_to_a_unit():
    field = torch.zeros(7, 8, dtype=torch.float64)
    field[2, 5] = 1
    response = Wave(1.0, 2.0)(field)
    shown = plot.kernel(Wave(1.0, 2.0), (7, 8), point=(2, 5)).images[0].get_array()
    expected = response.sign() * (response.abs() / response.abs().max()).sqrt()
    np.testing.assert_allclose(shown, expected, atol=1e-7)


def test_film_shows_the_field_at_each_time():
    field, times = torch.rand(6, 9), (0.0, 1.0, 3.0)
    figure = plot.film(lambda t: Heat(0.3, t), field, times)
    assert [axes.get_title() for axes in figure.axes] == ["t = 0", "t = 1", "t = 3"]
    for axes, time in zip(figure.axes, times, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), Heat(0.3, time)(field), atol=1e-6)
    assert plot.film(lambda t: Heat(0.3, t), torch.rand(3, 6, 9), times).axes[0].images[0].get_array().shape == (
        6,
        9,
        3,
    )


def test_operators_conditioned_on_the_input():
    mixture = Mixture([Heat(0.1), Heat(1.0)], weights=InputRouter(4, 2))
    pooled = torch.rand(4)
    shown = plot.spectrum(mixture, (6, 9), pooled=pooled, channel=1).images[0].get_array()
    np.testing.assert_allclose(shown, mixture.gain((6, 9), pooled=pooled, dtype=torch.float64)[..., 1].detach())


def test_errors():
    with pytest.raises(ValueError, match="channel must be between 0 and 0, got 99"):
        plot.spectrum(Heat(), (8, 8), channel=99)
    with pytest.raises(ValueError, match="axis must be 0, 1 or None, got 2"):
        plot.radial_profile(Heat(), (8, 8), axis=2)
    with pytest.raises(ValueError, match=r"sizes must be \(H, W\): pictures are of operators over two dimensions"):
        plot.spectrum(Heat(dims=-1), (8,))
    with pytest.raises(ValueError, match=r"point must be a cell of the 4 x 5 grid, got \(4, 0\)"):
        plot.kernel(Heat(), (4, 5), point=(4, 0))
    with pytest.raises(ValueError, match=r"film needs at least one time and a field \(H, W\) or \(3, H, W\)"):
        plot.film(lambda t: Heat(0.3, t), torch.rand(4, 6, 9), (1.0,))
