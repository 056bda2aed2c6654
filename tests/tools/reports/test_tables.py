"""The one writer of tables, and the one convention for errors."""

import math

import numpy as np
import pytest
from reports.tables import Mean, html, markdown, mean_and_error, mean_of, over_seeds, shown


def test_the_error_is_the_standard_error_of_the_mean():
    values = np.random.default_rng(0).normal(50, 3, 7)
    assert mean_and_error(list(values)) == pytest.approx((values.mean(), values.std(ddof=1) / math.sqrt(7)))
    alone = mean_and_error([3.0])
    assert alone.value == 3.0 and math.isnan(alone.error)


def test_the_error_of_a_mean_of_means():
    parts = [Mean(1.0, 0.3), Mean(3.0, 0.4)]
    assert mean_of(parts) == pytest.approx((2.0, 0.25))  # half of the root of 0.09 + 0.16
    assert math.isnan(mean_of([*parts, Mean(1.0, math.nan)]).error)


@pytest.mark.parametrize(
    ("mean", "form", "text"),
    [
        (Mean(42.04, 2.0), ".1f", "42.0 ± 2.0"),
        (Mean(42.04, math.nan), ".1f", "42.0"),
        (Mean(0.5, 0.25), "+.3f", "+0.500 ± 0.250"),
        (None, ".1f", "-"),
    ],
)
def test_shown(mean, form, text):
    assert shown(mean, form) == text


def test_the_number_is_stated():
    assert over_seeds([0, 2, 5]) == "mean ± standard error over seeds 0, 2, 5 (n = 3)"


def test_markdown():
    assert markdown(["a", "b"], [["x", 1]]).splitlines() == ["| a | b |", "|---|---|", "| x | 1 |"]
    aligned = markdown(["a", "long"], [["wide", 1]], aligned=True)
    assert aligned.splitlines() == ["| a    | long |", "|------|------|", "| wide | 1    |"]


def test_html_is_escaped():
    assert html(["a"], [["<b>"]]) == "<table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>"
