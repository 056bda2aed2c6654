"""tools/evaluate_transfer.py as a user runs it: what it says, and what it ends with; the study is another test's."""

import pytest
import yaml
from in_process import run
from small_tasks import NANO


class Study:
    """In the place of a study: what its cases come to."""

    ends: object = ()

    def __init__(self, study, folder, only, tasks, report_only):
        self.seen = (study.title, folder.name, only, tasks, report_only)

    def run(self, processes):
        if isinstance(self.ends, BaseException):
            raise self.ends
        return [f"{line}, of {processes} at once" for line in self.ends]

    def report(self):
        return f"the report of {self.seen}"


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run it in this process; how it ended, and what it printed."""
    content = {
        "tasks": {"a": {"config": "configs/digit_scenes/upernet_vheat-n.py"}},
        "entries": {"e": {"backbone": NANO}},
        "protocols": ["scratch"],
    }
    (tmp_path / "my study.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *given: None)

    def call(*arguments, ends=None):
        if ends is not None:
            monkeypatch.setattr("evaluation.study.RunningStudy", type("Ends", (Study,), {"ends": ends}))
        return run("evaluate_transfer.py", "my study.yaml", *arguments), "".join(capsys.readouterr())

    return call


def test_a_whole_study_ends_with_its_report(command):
    code, said = command("--processes", "2", "--out", "my out", "--only", "e", ends=())
    assert code == 0 and said == "the report of ('my study', 'my out', ['e'], None, False)\n"


def test_what_failed_is_named_below_the_report_of_the_rest(command):
    code, said = command("--report-only", ends=("one case",))
    assert code == "not everything could be done:\none case, of 1 at once"
    assert said == "the report of ('my study', 'my study', None, None, True)\n"


def test_one_that_is_interrupted_says_that_it_goes_on(command):
    assert command(ends=KeyboardInterrupt())[0] == "stopped; the same command goes on where it was"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes", "0"], "--processes must be at least 1, got 0"),
        (["--only", "f"], "--only: unknown 'f'; accepted are e"),
        (["--report-only", "--out", "none"], "there is nothing to report on in"),
        (["--out", "my study.yaml"], "my study.yaml is a file, not a folder"),
        (["--out", "my study.yaml/x"], "my study.yaml/x cannot be written"),
    ],
)
def test_mistakes_get_one_clear_line_and_leave_nothing(arguments, message, command, tmp_path):
    code, said = command(*arguments)
    assert code == 2 and message in said.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["my study.yaml"]


def test_a_disk_that_is_full_is_one_line(command):
    code, said = command(ends=OSError(28, "No space left on device"))
    assert code == 2 and "No space left on device" in said.splitlines()[-1]
