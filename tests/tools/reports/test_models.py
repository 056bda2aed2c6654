"""The generated tables of docs/models.md are current."""

import pytest
from reports import models as tool


def test_the_document_is_current(monkeypatch):
    monkeypatch.setattr(tool.backbones, "ARCHS", {"nano": tool.backbones.ARCHS["nano"]})  # the others take a while
    monkeypatch.setattr(tool.backbones, "HIVIT_MODELS", ("fastitpn_tiny_patch16_224", "hivit_base_patch16_224"))
    text = tool.DOCUMENT.read_text()
    for make in tool.TABLES.values():
        for line in make().splitlines():
            assert f"\n{line}\n" in text


def test_tables_are_exchanged(monkeypatch):
    monkeypatch.setattr(tool, "TABLES", {"a": lambda: "| 1 |\n| 2 |", "b": lambda: "| 3 |"})
    text = "x\n<!-- table a -->\nold\nold\n<!-- end -->\ny\n<!-- table b -->\n\n<!-- end -->\n"
    new = "x\n<!-- table a -->\n| 1 |\n| 2 |\n<!-- end -->\ny\n<!-- table b -->\n| 3 |\n<!-- end -->\n"
    assert tool.updated(text) == new == tool.updated(new)
    with pytest.raises(SystemExit, match="one place for the table 'b', it holds 0"):
        tool.updated(text.replace("table b", "table c"))
