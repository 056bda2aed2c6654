"""Files are whole or not there."""

import pytest
from files.whole import write_whole


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_whole(path, lambda p: p.write_text("old"))

    def fail(part):
        part.write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        write_whole(path, fail)
    assert path.read_text() == "old"
