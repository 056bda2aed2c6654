"""The generated tables of docs/models.md are current."""

import pytest
from reports import models as tool


def assert_current():
    text = tool.DOCUMENT.read_text()
    for make in tool.TABLES.values():
        for line in make().splitlines():
            assert f"\n{line}\n" in text


def test_small_models_in_the_document_are_current(monkeypatch):
    monkeypatch.setattr(tool.backbones, "ARCHS", {"nano": tool.backbones.ARCHS["nano"]})
    monkeypatch.setattr(tool.backbones, "HIVIT_MODELS", ("fastitpn_tiny_patch16_224", "hivit_base_patch16_224"))
    monkeypatch.setattr(tool.backbones, "RS_VHEAT_MODELS", ("rs_vheat_nano",))
    monkeypatch.setattr(tool, "DIFFUSIVITIES", tuple(tool.DIFFUSIVITIES)[:2])
    others = ("rs_vheat_tasks", "rs_vheat_work")  # test_remote_sensing.py sees to them
    monkeypatch.setattr(tool, "TABLES", {name: make for name, make in tool.TABLES.items() if name not in others})
    assert_current()


@pytest.mark.sweep
def test_the_document_is_current():
    assert_current()


def test_tables_are_exchanged(monkeypatch):
    monkeypatch.setattr(tool, "TABLES", {"a": lambda: "| 1 |\n| 2 |", "b": lambda: "| 3 |"})
    text = "x\n<!-- table a -->\nold\nold\n<!-- end -->\ny\n<!-- table b -->\n\n<!-- end -->\n"
    new = "x\n<!-- table a -->\n| 1 |\n| 2 |\n<!-- end -->\ny\n<!-- table b -->\n| 3 |\n<!-- end -->\n"
    assert tool.updated(text) == new == tool.updated(new)
    with pytest.raises(SystemExit, match="one place for the table 'b', it holds 0"):
        tool.updated(text.replace("table b", "table c"))
