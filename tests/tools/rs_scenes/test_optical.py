"""Light, shadows, clouds, and what the optical picture tells apart."""

import numpy as np
import pytest
from rs_scenes.clouds import SHADE, WHITE, cloud_opacity, put_clouds
from rs_scenes.cover import BARE, BUILDING, CROP, GRASS, WATER
from rs_scenes.optical import Light, expose, hillshade, reflectance, shadows, to_reflectance
from rs_scenes.radar import radar_picture


def test_the_sun_stands_where_it_is_said_to():
    np.testing.assert_allclose(Light(azimuth=90, elevation=0).towards(), (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(Light(azimuth=0, elevation=0).towards(), (0, -1, 0), atol=1e-12)
    np.testing.assert_allclose(Light(azimuth=315, elevation=45).towards(), (-0.5, -0.5, 0.5**0.5))


def test_hillshade_of_planes():
    down, right = np.mgrid[:8, :8].astype(float)
    light = Light(azimuth=270, elevation=45)  # from the left
    np.testing.assert_allclose(hillshade(np.zeros((8, 8)), light), 1)
    np.testing.assert_allclose(hillshade(right, light), 2**0.5)  # rises away from the sun: met at right angles
    np.testing.assert_allclose(hillshade(-right, light), 0.2)  # grazed, and lit by the sky alone
    np.testing.assert_allclose(hillshade(down, light), 0.5**0.5)


def test_shadows_fall_away_from_the_sun_and_longer_when_it_is_low():
    labels = np.full((9, 9), GRASS, np.uint8)
    labels[4, 4] = BUILDING
    assert np.argwhere(shadows(labels, Light())).tolist() == [[5, 5]]
    assert np.argwhere(shadows(labels, Light(azimuth=180, elevation=40))).tolist() == [[2, 4], [3, 4]]


def test_exposure_keeps_reflectance():
    surface = np.broadcast_to(np.array([0.05, 0.2, 0.6])[:, None, None], (3, 64, 64))
    picture = expose(np.random.default_rng(0), surface, Light())
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    np.testing.assert_allclose(to_reflectance(picture).mean((0, 1)), [0.05, 0.2, 0.6], atol=1e-3)
    ramp = np.broadcast_to(np.linspace(0.1, 0.5, 64), (3, 64, 64))
    offset = expose(np.random.default_rng(0), ramp, Light(offset=(0, 0.5)))
    change = to_reflectance(offset) - to_reflectance(expose(np.random.default_rng(0), ramp, Light()))
    assert change[:, 8:-8].mean() == pytest.approx(-0.5 * 0.4 / 63, rel=0.05)


@pytest.mark.parametrize("cover", [0.1, 0.3, 0.5])
def test_clouds_cover_their_share(cover):
    opacity = cloud_opacity(np.random.default_rng(2), 256, cover)
    assert opacity.mean() == pytest.approx(cover, abs=0.01) and opacity.min() >= 0 and opacity.max() <= 1 + 1e-9
    assert ((opacity > 0.05) & (opacity < 0.95)).any()


def test_clouds_hide_what_is_below_and_darken_beside():
    opacity = np.zeros((64, 64))
    opacity[20:30, 20:30] = 1
    rng = np.random.default_rng
    dark, bright = (np.full((3, 64, 64), value) for value in (0.1, 0.3))
    light = Light(azimuth=315)
    below = [put_clouds(rng(0), surface, opacity, light, 12 * 2**0.5) for surface in (dark, bright)]
    hidden = opacity == 1
    np.testing.assert_array_equal(below[0][:, hidden], below[1][:, hidden])
    np.testing.assert_allclose(below[0][:, hidden].mean(1), WHITE, rtol=0.2)
    shaded = np.zeros((64, 64), bool)
    shaded[32:42, 32:42] = True
    np.testing.assert_allclose(below[0][:, shaded], 0.1 * SHADE)
    np.testing.assert_array_equal(below[0][:, ~hidden & ~shaded], 0.1)


def test_look_alikes_differ_in_the_radar_alone(level_place):
    """A ripe field and one roof in three are bare ground to the eye, and 1.5 and 6.5 dB brighter in VV."""

    def seen(cover):
        layout, rng = level_place(cover, roof=0), np.random.default_rng(4)
        cells = len(layout.plan.cell_cover)
        surface = reflectance(rng, layout, np.ones(cells), (), Light())
        sar = radar_picture(rng, layout, np.zeros(cells), (), look=1)
        return surface.mean((1, 2)), 10 * np.log10((10 ** (sar[..., 0].astype(float) / 10)).mean())

    bare, crop, roof, water = (seen(cover) for cover in (BARE, CROP, BUILDING, WATER))
    np.testing.assert_allclose(crop[0], bare[0], atol=0.025)
    np.testing.assert_allclose(roof[0], bare[0], atol=0.025)
    assert abs(water[0] - bare[0]).max() > 0.25
    assert crop[1] - bare[1] == pytest.approx(1.5, abs=0.2) and roof[1] - bare[1] == pytest.approx(6.5, abs=0.6)
