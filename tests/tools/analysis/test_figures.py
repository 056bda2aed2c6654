"""Figures show the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from analysis import figures as tool
from analysis import network_figures as of_networks
from analysis.costs import Cost
from analysis.errors import ERRORS, SPECIAL, ErrorAnalysis
from analysis.features import Spectrum
from analysis.modes import SmallModes
from analysis.physics import LearnedQuantity
from analysis.statistics import paired


@pytest.fixture(autouse=True)
def drawn(tmp_path):
    """Every figure of a test can be saved, without a warning."""
    yield
    for number in plt.get_fignums():
        plt.figure(number).savefig(tmp_path / f"{number}.png", dpi=40)
    assert plt.get_fignums()
    plt.close("all")


def texts(fig):
    return [text.get_text() for legend in fig.legends for text in legend.get_texts()]


def test_errors():
    gains = {kind: float(i) for i, kind in enumerate((*ERRORS, *SPECIAL))}
    fig = tool.error_bars({n: ErrorAnalysis(ap, gains, dict.fromkeys(ERRORS, 1)) for n, ap in (("a", 50), ("b", 60))})
    for ax, expected in zip(fig.axes, (range(6), (6, 7)), strict=True):
        assert [bar.get_width() for bar in ax.containers[0]] == [*expected]
        assert ax.yaxis_inverted() and len(ax.containers) == 2
    assert [t.get_text() for t in fig.axes[1].get_yticklabels()] == [*SPECIAL]
    assert texts(fig) == ["a, AP50 50.0", "b, AP50 60.0"]


def test_confusion():
    fig = tool.confusion_matrix(np.array([[3, 1, 0], [0, 0, 0], [1, 0, 0]]), ["cat", "dog"], "x")
    ax = fig.axes[0]
    assert ax.images[0].get_array().tolist() == [[75, 25, 0], [0, 0, 0], [100, 0, 0]]
    assert [t.get_text() for t in ax.texts] == ["75", "25", "100"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["cat", "dog", "background"]
    many = tool.confusion_matrix(np.eye(20), [str(i) for i in range(20)])
    assert not many.axes[0].texts
    with pytest.raises(ValueError, match="confusion of 4 rows has classes 4 or 3"):
        tool.confusion_matrix(np.eye(4), ["cat", "dog"])


def test_precision_recall():
    curves = {"cat": np.full(101, 80.0), "dog": np.linspace(100, 0, 101)}
    fig = tool.precision_recall(curves)
    assert texts(fig) == ["cat, 80.0", "dog, 50.0", "mean of 2, 65.0"]
    np.testing.assert_allclose(fig.axes[0].lines[2].get_ydata(), (curves["cat"] + curves["dog"]) / 2)
    assert texts(tool.precision_recall({"cat": curves["cat"]})) == ["cat, 80.0"]
    assert texts(tool.precision_recall({str(i): curves["dog"] for i in range(20)})) == ["mean of 20, 50.0"]


def test_classes_are_in_the_order_of_their_means():
    fig = tool.per_class({"a": {"x": 10, "y": 50, "z": float("nan")}, "b": {"x": 20, "y": 5, "z": 1.0}}, "IoU")
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["y", "x", "z"]
    assert fig.axes[0].lines[1].get_xdata().tolist() == [5, 20, 1]


def test_differences():
    enough, few = paired(np.arange(6) + 1.0, np.zeros(6)), paired([1, 2, 4], [0, 0, 0])
    fig = tool.differences({"a": enough, "b": few}, "points")
    assert [t.get_text() for t in fig.axes[0].texts] == ["n = 6, p = 0.031", "n = 3, descriptive"]
    points = [line for line in fig.axes[0].lines if line.get_marker() == "o"]
    assert [p.get_xdata()[0] for p in points] == [enough.difference, few.difference]
    assert [p.get_markerfacecolor() == "white" for p in points] == [False, True]


def test_corruptions():
    rows = {"fog": [4.0, 3.0], "frost": [5.0, 4.0], "contrast": [2.0, 1.0]}
    fig = tool.corruption_curves({"a": 6.0, "b": 7.0}, {"a": rows, "b": {"fog": [1.0, 1.0]}}, "mIoU")
    panels = {ax.get_title(): ax for ax in fig.axes if ax.lines}
    assert list(panels) == ["frost", "fog", "contrast"]
    assert [line.get_ydata().tolist() for line in panels["fog"].lines] == [[6, 4, 3], [7, 1, 1]]
    assert texts(fig) == ["a", "b"]


def test_sizes():
    fig = tool.over_sizes({"a": {2.0: 30.0, 0.5: 20.0}, "b": {1.0: 25.0}}, "mIoU")
    assert fig.axes[0].lines[0].get_xydata().tolist() == [[0.5, 20], [2, 30]]
    assert [t.get_text() for t in fig.axes[0].get_xticklabels()] == ["0.5", "1", "2"]


def test_receptive_fields():
    field = torch.zeros(32, 32)
    field[8:24, 8:24] = 1
    fig = of_networks.receptive_fields({"before": field, "after": torch.ones(32, 32)}, stride=1, columns=1)
    before = fig.axes[0]
    assert before.get_title() == "before\nside of 50 %: 0.41, 99 %: 0.53"
    shades = before.images[0].get_array()
    assert shades.min() == pytest.approx(-6, abs=1e-5) and shades.max() == 0
    square = before.patches[1]
    assert square.get_width() == 17 and square.get_x() + 8.5 == square.get_y() + 8.5 == 16


def test_spectra():
    found = Spectrum(torch.tensor([0.2, 0.6]), torch.tensor([3.0, 1.0]))
    fig = of_networks.spectra({"a": [found, found], "b": [found]})
    assert [len(ax.lines) for ax in fig.axes] == [2, 1] and texts(fig) == ["a", "b"]
    np.testing.assert_allclose(fig.axes[0].lines[0].get_ydata(), [0, -2])


def test_physics():
    rows = [LearnedQuantity(f"layer{i}", "Heat", "diffusivity", i, i - 1, i + 1, 8) for i in (1, 2)]
    rows.append(LearnedQuantity("layer2", "Wave", "damping", 0.1, 0, 0.2, 8))
    fig = of_networks.physics({"a": rows, "b": rows[:1]})
    assert [ax.get_title() for ax in fig.axes] == ["Heat: diffusivity", "Wave: damping"]
    assert fig.axes[0].lines[0].get_xydata().tolist() == [[1, 1], [2, 2]]
    assert fig.axes[0].lines[1].get_xydata().tolist() == [[1, 1]]
    with pytest.raises(ValueError, match="no operators that learn anything"):
        of_networks.physics({"a": []})


def test_small_modes():
    rows = [SmallModes(f"layer{i}", (4, 4), 0.1 * t, 0.25 * i, (2, 2), 0.5) for i in (1, 2) for t in (1, 2)]
    fig = of_networks.small_modes({"a": rows, "b": rows[:2]})
    assert [ax.get_title() for ax in fig.axes] == ["gain below 0.1", "gain below 0.2"] and texts(fig) == ["a", "b"]
    assert [line.get_xydata().tolist() for line in fig.axes[0].lines] == [
        [[1, 25], [2, 50]],
        [[1, 50], [2, 50]],
        [[1, 25]],
        [[1, 50]],
    ]


def test_stages():
    costs = [Cost("stem", 1e6, 2000, 0), Cost("stages.0", 3e6, 4000, 0), Cost("rest", 0, 10, 0)]
    fig = of_networks.stage_bars({"a": [*costs, Cost("total", 4e6, 6010, 0)]})
    assert [bar.get_width() for bar in fig.axes[0].patches] == [1, 3, 0]
    assert [t.get_text().strip() for ax in fig.axes for t in ax.texts] == ["4", "0.00601"]
