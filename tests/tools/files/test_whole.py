"""Records are whole or not there, and lines are added whole."""

import json

import pytest
from files.whole import append_line, read_lines, write_json


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "folder" / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1} and [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_lines_are_added_behind_one_that_was_cut_off(tmp_path):
    path = tmp_path / "folder" / "file.jsonl"
    assert read_lines(path) == []
    append_line(path, {"a": 1})
    path.write_text(path.read_text() + '{"a": ')
    append_line(path, {"a": 2})
    append_line(path, {"a": 3})
    assert read_lines(path) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert path.read_text().splitlines() == ['{"a": 1}', '{"a": ', '{"a": 2}', '{"a": 3}']
