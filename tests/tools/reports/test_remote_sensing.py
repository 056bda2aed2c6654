"""The published sizes of RS-vHeat are what is counted here."""

import pytest
from reports import remote_sensing as tool
from reports.models import DOCUMENT


def test_the_published_numbers_are_decoded():
    numbers, macs = tool._segmentor(896)
    assert numbers / 1e6 == pytest.approx(148.9, abs=0.05) and macs / 1e9 == pytest.approx(923.3, abs=0.05)
    _, macs = tool._detector(precomputed=True)
    assert round(macs / 1e9) == tool.PUBLISHED["detection"][1]
    numbers, macs = tool._classifier(precomputed=True)
    assert round(numbers / 1e6) == tool.PUBLISHED["classification"][0]
    assert macs / 1e9 == pytest.approx(tool.PUBLISHED["classification"][1], rel=0.02)
    (_, seven), (_, growing) = tool._swin(7), tool._swin(32)
    assert (round(seven / 1e9), round(growing / 1e9)) == (341, 449)
    assert 1 - macs / seven == pytest.approx(0.017, abs=0.001) and 1 - macs / growing > 0.24


def test_work_of_windows_and_of_attention_grows_as_it_must():
    table = tool.work()
    assert table in DOCUMENT.read_text()
    rows = {cells[0]: cells for cells in ([c.strip() for c in row.split("|")[1:-1]] for row in table.splitlines())}
    heat, seven, growing, vit = (
        [float(cell) for cell in rows[name][1:3]]
        for name in ("RS-vHeat-B", "Swin-B, windows of 7", "Swin-B, growing windows", "ViT-B/16")
    )
    assert 3.8 < seven[1] / seven[0] < 4.1 < growing[1] / growing[0] < vit[1] / vit[0]  # four times the pixels
    assert heat[1] < seven[1] < growing[1] < vit[1]


def test_every_published_number_stands_in_the_table():
    table = tool.decoded()
    assert table in DOCUMENT.read_text()
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    told = [row[-1].strip(" |") for row in rows]
    assert [text for text in told if text != "-"] == ["148 M / 921 G", "266 G", "150 M / 340 G"]
