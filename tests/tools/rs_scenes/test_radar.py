"""The SAR-like picture against what it is said to be."""

import numpy as np
import pytest
from rs_scenes.cover import BUILDING, COVERS, CROP, GRASS, WATER
from rs_scenes.objects import Target
from rs_scenes.radar import CLIP, FLOOR, backscatter, local_incidence, radar_picture, speckle, texture, walls


def power_of(layout, seed=0, targets=(), moisture=0.0):
    cells = np.full(len(layout.plan.cell_cover), moisture)
    picture = radar_picture(np.random.default_rng(seed), layout, cells, targets, look=1)
    assert picture.shape == (256, 256, 2) and picture.dtype == np.float32
    return 10 ** (picture.astype(float) / 10)


@pytest.mark.parametrize("looks", [1, 3, 5])
def test_speckle_has_its_number_of_looks(looks):
    power = np.stack([speckle(np.random.default_rng(i), 256, looks) for i in range(4)])
    assert power.mean() == pytest.approx(1, abs=0.01)
    assert power.mean() ** 2 / power.var() == pytest.approx(looks, rel=0.03)


def test_texture_has_mean_one_and_its_variance():
    for order in (1.5, 7.0, 60.0):
        field = np.stack([texture(np.random.default_rng(i), np.full((256, 256), order)) for i in range(12)])
        assert field.mean() == pytest.approx(1, abs=0.02 + 0.5 / order / 10)
        assert field.var() == pytest.approx(1 / order, rel=0.1)
        assert (field[:, :, 1:] - field[:, :, :-1]).var() < 0.3 * field.var()  # smooth: neighbours are alike


def test_a_flat_scene_has_the_stated_equivalent_number_of_looks(level_place):
    """Five looks, less what texture takes: 1 + 1/L_e = (1 + 1/5) (1 + s^2/60), s the share that is not noise floor."""
    power = np.stack([power_of(level_place(WATER), seed) for seed in range(4)])
    for band, level in enumerate((COVERS[WATER].vv, COVERS[WATER].vv - COVERS[WATER].drop)):
        share = 1 / (1 + 10 ** ((FLOOR - level) / 10))
        expected = 1 / (1.2 * (1 + share**2 / COVERS[WATER].order) - 1)
        seen = power[..., band]
        assert seen.mean() ** 2 / seen.var() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("cover", range(len(COVERS)))
def test_flat_covers_have_their_brightness(cover, level_place):
    expected = COVERS[cover]
    power = np.stack([power_of(level_place(cover), seed) for seed in range(2)])
    floor = 10 ** (FLOOR / 10)
    for band, level in enumerate((expected.vv, expected.vv - expected.drop)):
        tolerance = 0.1 + 0.6 / expected.order  # rough texture needs more pixels; bright points are clipped at 5 dB
        assert 10 * np.log10(power[..., band].mean()) == pytest.approx(
            10 * np.log10(10 ** (level / 10) + floor), abs=tolerance
        )


def test_moisture_is_worth_two_decibels_in_fields_alone(level_place):
    cells = len(level_place(CROP).plan.cell_cover)
    for cover, gain in ((CROP, 2.0), (GRASS, 0.0)):
        layout = level_place(cover)
        wet, mean = (backscatter(layout, np.full(cells, value), 1) for value in (1.0, 0.0))
        np.testing.assert_allclose(10 * np.log10(wet / mean), gain, atol=1e-9)


def test_slopes_towards_the_sensor_are_brighter():
    tilted = np.tan(np.deg2rad(10)) * np.mgrid[:8, :8][1]
    cos = lambda degrees: np.cos(np.deg2rad(degrees))  # noqa: E731
    np.testing.assert_allclose(local_incidence(tilted, 1), (cos(28) / cos(38)) ** 1.5)
    np.testing.assert_allclose(local_incidence(tilted, -1), (cos(48) / cos(38)) ** 1.5)
    np.testing.assert_allclose(local_incidence(0 * tilted, 1), 1)


def test_walls_that_face_the_sensor():
    labels = np.full((7, 7), GRASS, np.uint8)
    labels[2:5, 2:5] = BUILDING
    assert np.argwhere(walls(labels, 1)).tolist() == [[2, 1], [3, 1], [4, 1]]
    assert np.argwhere(walls(labels, -1)).tolist() == [[2, 5], [3, 5], [4, 5]]


@pytest.mark.parametrize("kind", ["ship", "aircraft"])
def test_targets_are_a_few_strong_points_in_their_box(kind, level_place):
    target = Target(kind, (100.0, 80.0), 20, 6 if kind == "ship" else 18, 0.6)
    with_it, without = (power_of(level_place(WATER), 1, targets) for targets in ((target,), ()))
    away = np.stack(np.meshgrid(np.arange(256) + 0.5, np.arange(256) + 0.5), -1) - target.centre
    along, across = away @ (np.cos(0.6), np.sin(0.6)), away @ (-np.sin(0.6), np.cos(0.6))
    near = (abs(along) < 10 + 4) & (abs(across) < target.width / 2 + 4)
    assert with_it[near].max() > 100 * without[near].mean()
    assert with_it[~near].max() < 20 * without[near].mean()  # speckle alone


def test_decibels_are_clipped_and_rounded(level_place):
    layout = level_place(WATER)
    bright = [Target("ship", (30 + 9 * i, 40), 12, 6, 0.5) for i in range(20)]
    picture = radar_picture(np.random.default_rng(0), layout, np.zeros(len(layout.plan.cell_cover)), bright, -1)
    assert picture.min() >= CLIP[0] and picture.max() == CLIP[1]
    np.testing.assert_allclose(picture * 100, np.round(picture.astype(float) * 100), atol=1e-3)
