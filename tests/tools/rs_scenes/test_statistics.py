"""Measures of pictures, and those of synthetic scenes beside real ones."""

from collections import defaultdict

import numpy as np
import pytest
from rs_scenes.cover import COVERS
from rs_scenes.fields import noise_field
from rs_scenes.optical import to_reflectance
from rs_scenes.plan import SCENE_CLASSES
from rs_scenes.scene import draw_scene
from rs_scenes.statistics import equivalent_looks, mean_db, spectral_slope
from scipy.ndimage import binary_dilation

# Lowest and highest of five real scenes of 224 x 224 px at 10 m, measured with the functions tested here. They are of
# the validation split of TerraMesh, from the examples of the repository IBM/terramind (Copernicus Sentinel-1 RTC in dB
# and Sentinel-2 L2A, land cover by Esri / Impact Observatory; classes of more than 300 px), and are not in this
# repository.
REAL_BRIGHTNESS = {  # VV, VH: the mean power in dB
    "water": (
        (-16.1, -16.1),
        (-21.7, -21.7),
    ),  # one lake; the other water, of mixed pixels, has -11.0, -17.2
    "forest": ((-9.7, -7.0), (-15.3, -12.8)),  # trees
    "crop": ((-12.4, -8.8), (-18.2, -16.3)),
    "grass": ((-12.4, -9.1), (-18.4, -14.5)),  # range land
    "town": ((-10.7, -8.2), (-16.2, -14.8)),  # built area, which there, too, has its streets and yards
}
REAL_LOOKS = {"VV": (3.78, 5.83), "VH": (3.65, 7.39)}
REAL_SLOPE = {
    "VV": (-2.19, -1.58),
    "VH": (-1.83, -1.22),
    "red": (-3.41, -2.08),
    "green": (-3.38, -1.84),
    "blue": (-3.33, -1.80),
}


@pytest.fixture(scope="module")
def measured():
    """Of 25 scenes of 224 px, five of each class: looks and slopes by class of scene, brightness by cover."""
    looks, slopes, brightness = defaultdict(list), defaultdict(list), defaultdict(list)
    for number in range(25):
        scene_class = tuple(SCENE_CLASSES)[number % 5]
        scene = draw_scene(np.random.default_rng([5, number]), 224, scene_class)
        free = np.ones((224, 224), bool)
        for target in scene.targets:
            free &= ~binary_dilation(target.mask(224), iterations=4)
        masks = {cover.name: scene.layout.labels == value for value, cover in enumerate(COVERS)}
        masks["town"] = scene.layout.town
        for band, name in enumerate(("VV", "VH")):
            db = scene.sar[..., band]
            looks[name, scene_class].append(equivalent_looks(db))
            slopes[name].append(spectral_slope(db))
            for cover, mask in masks.items():
                if (mask & free).sum() > 300:
                    brightness[cover, band].append(mean_db(db, mask & free))
        for band, name in enumerate(("red", "green", "blue")):
            slopes[name].append(spectral_slope(to_reflectance(scene.clear)[..., band]))
    return looks, slopes, brightness


def test_mean_is_that_of_the_power():
    db = np.array([[0.0, 10.0], [20.0, 99.0]])
    assert mean_db(db, db < 50) == pytest.approx(10 * np.log10(37))


@pytest.mark.parametrize("looks", [1, 4, 16])
def test_looks_of_gamma_noise(looks):
    """The median over small windows is biased upwards for few looks, by a known amount that simulation gives."""
    power = np.random.default_rng(0).gamma(looks, 1 / looks, (256, 256))
    assert equivalent_looks(10 * np.log10(power)) == pytest.approx(looks, rel={1: 0.3, 4: 0.12, 16: 0.08}[looks])


@pytest.mark.parametrize("beta", [0.0, 1.5, 2.5])
def test_slope_of_noise(beta):
    found = [spectral_slope(noise_field(np.random.default_rng(i), 128, beta)) for i in range(12)]
    assert np.mean(found) == pytest.approx(-beta, abs=0.15)


@pytest.mark.parametrize("cover", REAL_BRIGHTNESS)
def test_classes_are_as_bright_as_real_ones_to_a_decibel(cover, measured):
    for band, (low, high) in enumerate(REAL_BRIGHTNESS[cover]):
        assert low - 1 <= np.mean(measured[2][cover, band]) <= high + 1


# The medians of synthetic scenes are at the ends of two of the ranges; they are known to about as much as this.
MARGIN = 0.1


@pytest.mark.parametrize("name", REAL_LOOKS)
def test_equivalent_looks_are_those_of_real_scenes_outside_of_towns(name, measured):
    """At their low end. In towns, houses are nearer each other than the window is wide, which then measures them."""
    low, high = REAL_LOOKS[name]
    values = [v for (band, scene), found in measured[0].items() if band == name and scene != "town" for v in found]
    assert low - MARGIN <= np.median(values) <= high + MARGIN


@pytest.mark.parametrize("name", REAL_SLOPE)
def test_spectral_slopes_are_those_of_real_scenes(name, measured):
    low, high = REAL_SLOPE[name]
    assert low - MARGIN <= np.median(measured[1][name]) <= high + MARGIN
