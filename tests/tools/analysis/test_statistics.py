"""Known intervals and p-values."""

import itertools

import numpy as np
import pytest
from analysis.statistics import over_images, paired
from scipy import stats


def test_all_signs_are_tried():
    d = np.array([1.2, 0.3, -0.4, 2.0, 0.7, 0.9, 0.1])
    sums = [abs(np.dot(signs, d)) for signs in itertools.product((-1, 1), repeat=len(d))]
    expected = np.mean(np.array(sums) >= abs(d.sum()) - 1e-12)
    found = paired(d + 5, np.full(7, 5.0))
    assert found.p == pytest.approx(expected) and found.least_p == 2 / 128
    assert found.difference == pytest.approx(d.mean()) and not found.descriptive
    assert paired(np.full(7, 5.0), d + 5).p == pytest.approx(expected)  # of either sign


def test_the_least_p_is_reached_where_all_pairs_agree():
    for n in (2, 3, 5, 6, 8):
        first = np.arange(n) + 1.0
        found = paired(first, np.zeros(n))
        assert found.p == found.least_p == 2 / 2**n
        assert found.descriptive == (found.least_p > 0.05)


def test_the_interval_is_that_of_the_bootstrap_of_pairs():
    random = np.random.default_rng(0)
    a, b = random.normal(1, 1, 9), random.normal(0, 1, 9)
    expected = stats.bootstrap(
        (a, b), lambda x, y, axis: (x - y).mean(axis), paired=True, vectorized=True, rng=np.random.default_rng(0)
    ).confidence_interval
    found = paired(a, b)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)
    narrow = paired(a, b, confidence=0.5)
    assert found.low < narrow.low < found.difference < narrow.high < found.high


@pytest.mark.parametrize(
    ("first", "second", "interval", "p"),
    [
        ([1.0], [3.0], (np.nan, np.nan), 1.0),
        ([2.0, 2.0], [2.0, 2.0], (0, 0), 1.0),
        ([2.5, 3.5, 4.5], [2.0, 3.0, 4.0], (0.5, 0.5), 0.25),
    ],
)
def test_one_pair_and_equal_differences(first, second, interval, p):
    found = paired(first, second)
    np.testing.assert_equal((found.low, found.high), interval)
    assert found.p == p


def test_text():
    assert str(paired([1.0], [3.0])) == "-2.00, n = 1: descriptive"
    assert str(paired([3, 2, 4, 5, 3, 4], [1] * 6)) == "+2.50 [+1.67, +3.17], n = 6, p = 0.0312"


def test_images_are_drawn_in_pairs():
    """The same images differ by the same everywhere: there is nothing to be unsure of."""
    random = np.random.default_rng(1)
    second = random.integers(0, 50, (8, 2)).astype(float)
    difference, low, high = over_images(second + np.array([1.0, 0.0]), second, lambda sums: sums[0])
    assert (difference, low, high) == pytest.approx((8, 8, 8))
    # the mean over images is a metric of sums, and has the interval of values
    first = random.normal(0, 1, (8, 1))
    found = over_images(first, np.zeros((8, 1)), lambda sums: sums[0] / 8, resamples=9999)
    alone = paired(first[:, 0], np.zeros(8))
    assert found == pytest.approx((alone.difference, alone.low, alone.high))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"values of the same pairs, got shapes \(2,\) and \(3,\)"):
        paired([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="must be finite"):
        paired([1, np.nan], [1, 2])
    with pytest.raises(ValueError, match=r"sums of the same images, got \(1, 2\) and \(1, 2\)"):
        over_images(np.ones((1, 2)), np.ones((1, 2)), np.sum)
