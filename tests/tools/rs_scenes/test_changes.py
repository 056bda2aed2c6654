"""Pairs of two dates: the change map, and what is no change."""

import numpy as np
import pytest
from rs_scenes.changes import draw_pair


@pytest.fixture(scope="module")
def pairs():
    return [draw_pair(np.random.default_rng([6, number]), 128) for number in range(60)]


def test_change_is_the_difference_of_the_label_maps(pairs):
    for pair in pairs:
        assert pair.change.dtype == np.uint8 and pair.change.max() <= 1
        np.testing.assert_array_equal(pair.change == 1, pair.before.labels != pair.after.labels)


def test_a_quarter_is_unchanged(pairs):
    """Within three standard errors of 60 pairs."""
    unchanged = np.mean([not pair.change.any() for pair in pairs])
    assert unchanged == pytest.approx(0.25, abs=3 * (0.25 * 0.75 / 60) ** 0.5)


def test_pictures_differ_where_nothing_changed(pairs):
    for pair in pairs:
        same = pair.change == 0
        difference = pair.before.optical[same].astype(int) - pair.after.optical[same]
        assert abs(difference).mean() > 2
        assert (pair.before.sar[same] - pair.after.sar[same]).std() > 1.5  # fresh speckle


def test_all_three_changes_occur(pairs):
    """Water, bare ground where forest was, and buildings."""
    become = {
        (int(a), int(b))
        for p in pairs
        for a, b in zip(p.before.labels[p.change == 1], p.after.labels[p.change == 1], strict=True)
    }
    assert {(1, 4), (3, 6)} <= become and any(after == 0 for _, after in become)
    assert {after for _, after in become} == {0, 4, 6}
