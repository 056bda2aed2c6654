"""tools/benchmark.py records, checks, measures again and fails."""

import json

import benchmark
import pytest
from benchmarks import records
from benchmarks.case import Case, Group
from benchmarks.measuring import Figure


class _Clock:
    """Runs that take no time: the figures are told."""

    def __init__(self, monkeypatch, *times):
        self.times = list(times)
        monkeypatch.setattr(benchmark, "groups", lambda device: {"g": Group("G", [self.case()])})
        monkeypatch.setattr(records, "alternate", lambda *args: self.figures())

    def case(self):
        return Case("c", lambda device: ({"ours": lambda: None, "other": lambda: None}, None), pixels=32)

    def figures(self):
        ours, other = self.times.pop(0)
        return {"ours": Figure(ours, 0.0), "other": Figure(other, 0.0)}


def _main(monkeypatch, tmp_path, *arguments):
    monkeypatch.setattr("sys.argv", ["benchmark.py", "--out", str(tmp_path / "out"), *arguments])
    monkeypatch.setattr(benchmark, "RECORDS", tmp_path / "records")
    benchmark.main()


def test_a_run_is_recorded_and_checked(monkeypatch, tmp_path):
    _Clock(monkeypatch, (10.0, 20.0))
    _main(monkeypatch, tmp_path, "--update")
    (record,) = (tmp_path / "records").glob("*.json")
    assert json.loads(record.read_text())["groups"]["g"]["cases"]["c"]["other"]["milliseconds"] == 20.0
    _Clock(monkeypatch, (10.0, 20.0))
    _main(monkeypatch, tmp_path, "--check")
    assert "**2.00**" in (tmp_path / "out" / "record.md").read_text()


def test_a_slow_case_is_measured_again_and_then_fails(monkeypatch, tmp_path):
    _Clock(monkeypatch, (10.0, 20.0))
    _main(monkeypatch, tmp_path, "--update")
    _Clock(monkeypatch, (12.0, 20.0), (10.0, 19.5))  # the second look is fine
    _main(monkeypatch, tmp_path, "--check")
    _Clock(monkeypatch, *[(12.0, 20.0)] * 4)
    with pytest.raises(SystemExit, match=r"g, c: ours has 0\.83 of its speed beside the others"):
        _main(monkeypatch, tmp_path, "--check")


def test_a_machine_without_a_record_is_told_so(monkeypatch, tmp_path):
    _Clock(monkeypatch, (10.0, 20.0))
    with pytest.raises(SystemExit, match="no record of this type of machine"):
        _main(monkeypatch, tmp_path, "--check")
