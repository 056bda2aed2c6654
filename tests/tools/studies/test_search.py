"""Learning rates go on beyond the outermost while that is the best."""

import pytest
from studies.search import best_rate, next_rate, search

NAN = float("nan")


@pytest.mark.parametrize(
    ("tried", "above", "both"),
    [
        ({}, 1.0, 1.0),
        ({1.0: 90.0}, 4.0, 4.0),
        ({1.0: 80.0, 4.0: 90.0}, 8.0, 8.0),
        ({1.0: 80.0, 4.0: 90.0, 8.0: 91.0}, 16.0, 16.0),
        ({1.0: 80.0, 4.0: 90.0, 8.0: 90.0}, None, None),  # of equals the lower one, so the largest is not the best
        ({1.0: 90.0, 4.0: 80.0}, None, 0.5),
        ({1.0: 90.0, 4.0: 90.0}, None, None),  # on a plateau there is nowhere to go
        ({1.0: 90.0, 4.0: 80.0, 0.5: 91.0}, None, 0.25),
        ({1.0: 90.0, 4.0: 80.0, 0.5: 90.0}, None, None),
        ({1.0: NAN, 4.0: 90.0}, 8.0, 8.0),
        ({1.0: 90.0, 4.0: NAN}, None, 0.5),
        ({1.0: NAN, 4.0: NAN}, None, None),
        ({1.0: 90.0, 4.0: 80.0, 0.5: 70.0}, None, None),
    ],
)
def test_next_rate(tried, above, both):
    assert next_rate(tried, (1.0, 4.0), 2.0, below=False) == above
    assert next_rate(tried, (1.0, 4.0), 2.0, below=True) == both


@pytest.mark.parametrize(
    ("tried", "best"), [({4.0: 9.0, 1.0: 9.0}, 1.0), ({1.0: NAN, 4.0: 0.0}, 4.0), ({1.0: 8.0, 4.0: 9.0}, 4.0)]
)
def test_best_rate(tried, best):
    assert best_rate(tried) == best


def test_the_search_tries_until_it_is_over():
    scores = {1.0: 80.0, 4.0: 90.0, 8.0: 91.0, 16.0: 85.0}
    assert search(scores.__getitem__, (1.0, 4.0), 2.0, below=False) == scores
    assert list(search(lambda rate: -rate, (1.0, 4.0), 2.0, below=False)) == [1.0, 4.0]
    peak = search(lambda rate: -abs(rate - 0.25), (1.0, 4.0), 2.0, below=True)
    assert list(peak) == [1.0, 4.0, 0.5, 0.25, 0.125] and best_rate(peak) == 0.25
