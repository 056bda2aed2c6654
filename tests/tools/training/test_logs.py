"""What a run leaves is read."""

import pytest
from training import logs


def test_records_and_missing_runs(tmp_path):
    (tmp_path / "log.json").write_text('{"loss": 1.5, "step": 1}\n{"mIoU": 40.0}\n')
    assert logs.read_records(tmp_path / "log.json") == [{"loss": 1.5, "step": 1}, {"mIoU": 40.0}]
    with pytest.raises(FileNotFoundError, match="to the end first"):
        logs.latest(tmp_path, "*.pth")
