"""Plots of a series, with growth exponents."""

import pytest
from benchmarks.plots import exponent, plot


def test_growth_exponent():
    assert exponent([2.0, 4.0, 16.0], [3 * n**1.25 for n in (2.0, 4.0, 16.0)]) == pytest.approx(1.25)


def test_plots_of_a_series(record, tmp_path):
    group = record(10.0, 20.0)["groups"]["g"]
    group["cases"]["d"] = {k: {**v, "milliseconds": 4 * v["milliseconds"]} for k, v in group["cases"]["c"].items()}
    group["pixels"] = {"c": 224, "d": 448}
    plot(group, tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text()
    assert text.count("1.00") >= 2 and text.count("0.00") >= 2  # time grows with the pixels, memory does not
