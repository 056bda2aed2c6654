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
        monkeypatch.setattr(records, "calibrate", lambda device: {"copy, GB/s": 20.5})

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


def test_on_a_machine_without_a_record_a_check_makes_it(monkeypatch, tmp_path, capsys):
    _Clock(monkeypatch, (10.0, 20.0))
    _main(monkeypatch, tmp_path, "--check")
    assert "no record of this type of machine" in capsys.readouterr().out
    (path,) = (tmp_path / "records").glob("*.json")
    record = json.loads(path.read_text())
    assert record["machine"]["threads"] > 0
    (run,) = record["runs"].values()
    assert run["calibration"] == {"copy, GB/s": 20.5} and run["libraries"]["torch"]
    _Clock(monkeypatch, *[(12.0, 20.0)] * 4)  # from then on it is compared with
    with pytest.raises(SystemExit, match="slower than the record"):
        _main(monkeypatch, tmp_path, "--check")


def test_groups_that_a_record_lacks_are_named(monkeypatch, tmp_path, capsys):
    _Clock(monkeypatch, (10.0, 20.0))
    _main(monkeypatch, tmp_path, "--update")
    (path,) = (tmp_path / "records").glob("*.json")
    path.write_text(path.read_text().replace('"g": {', '"h": {'))
    _Clock(monkeypatch, (10.0, 20.0))
    _main(monkeypatch, tmp_path, "--check")
    assert f"not in {path.name}, so not compared: g; --update records them" in capsys.readouterr().out


def test_an_update_keeps_other_groups_with_the_runs_they_are_of():
    def record(commit, *names):
        made = {name: {"commit": commit} for name in names}
        return {"machine": {"threads": commit}, "runs": {commit: {"of": commit}}, "groups": made}

    both = records.merged(record("old", "b", "a"), record("new", "c", "b"), ["a", "b", "c"])
    assert {name: group["commit"] for name, group in both["groups"].items()} == {"a": "old", "b": "new", "c": "new"}
    assert list(both["groups"]) == ["a", "b", "c"] and both["machine"] == {"threads": "new"}
    assert both["runs"] == {"old": {"of": "old"}, "new": {"of": "new"}}
    assert records.merged(record("old", "b"), record("new", "b"), ["b"])["runs"] == {"new": {"of": "new"}}


def test_groups_that_take_long_are_measured_where_they_are_named(monkeypatch, tmp_path):
    def figures(*args):
        return {"ours": Figure(1.0, 0.0), "other": Figure(2.0, 0.0)}

    clock = _Clock(monkeypatch)
    slow = Group("Slow", [clock.case()], on_request=True)
    monkeypatch.setattr(benchmark, "groups", lambda device: {"g": Group("G", [clock.case()]), "slow": slow})
    monkeypatch.setattr(records, "alternate", figures)
    measured = []
    for arguments in ([], ["--groups", "slow"]):
        _main(monkeypatch, tmp_path, *arguments)
        measured.append(list(json.loads((tmp_path / "out" / "record.json").read_text())["groups"]))
    assert measured == [["g"], ["slow"]]


def test_ranges_measure_nothing(monkeypatch, tmp_path, capsys):
    _Clock(monkeypatch, (10.0, 20.0))
    _main(monkeypatch, tmp_path, "--update")
    _Clock(monkeypatch)
    _main(monkeypatch, tmp_path, "--ranges", "g")
    assert "| c | other          | 2.00  | 2.00" in capsys.readouterr().out
    _main(monkeypatch, tmp_path, "--ranges")  # of which this record tells none
    assert capsys.readouterr().out.startswith("| group | case | ratio | range |")
