"""The pictures of README.md are drawn from operators and a network, and stay small."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from reports import readme as tool

import backbones  # noqa: F401


@pytest.fixture
def gains():
    return tool.stage_gains(timm.create_model("vheat_nano", img_size=64, num_classes=0), 64)


def test_composition_is_a_small_picture_of_three_panels(tmp_path, capsys):
    figure = tool.composition()
    assert [axes.get_title() for axes in figure.axes] == ["photograph", "gain of low modes", "result"]
    tool.save(figure, tmp_path / "new" / "composition.png")
    with Image.open(tmp_path / "new" / "composition.png") as picture:
        assert picture.width == 675 and picture.mode == "P"
    assert "composition.png: " in capsys.readouterr().out


def test_spread_shows_every_stage_and_heat_is_where_it_was_put(gains):
    figure = tool.spread(gains)
    one, whole = np.array(figure.axes).reshape(2, 4)
    for panel, (h, w) in zip(one, ((16, 16), (8, 8), (4, 4), (2, 2)), strict=True):
        shown = panel.images[0].get_array()
        assert shown.shape == (h, w) and np.unravel_index(shown.argmax(), shown.shape) == (h // 2, w // 2)
    assert whole[2].get_xlabel() != one[2].get_xlabel()  # three blocks
    assert whole[0].get_xlabel() == one[0].get_xlabel()  # one block
    tool.plt.close(figure)


def test_decay_is_that_of_a_known_operator():
    gain = torch.exp(-0.3 * tool.laplacian_eigenvalues((24, 24)))[..., None].expand(24, 24, 2)
    figure = tool.decay([[gain], [gain.square()]])
    for line, strength in zip(figure.axes[0].lines, (0.3, 0.6), strict=True):
        waves, values = line.get_data()
        np.testing.assert_allclose(values, np.exp(-strength * waves**2), atol=0.03)
    tool.plt.close(figure)


def test_large_pictures_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "LIMIT", 1000)
    with pytest.raises(SystemExit, match="bytes, more than 1000"):
        tool.save(tool.composition(), tmp_path / "a.png")
