"""tools/search.py on a toy task: its budget, workers that die, results that fail, and what it tells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import search
import toy_search
from optuna.trial import TrialState
from searching.page import front
from searching.study import Search, SearchError, Settings, create, repair
from searching.worker import tell

from backbones.search.replay import REPLACED

TOY = toy_search.__file__
ROOT = Path(search.__file__).parents[1]


def _worker(folder: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "tools" / "search.py"), "run", str(folder), "--task", TOY, *options]
    paths = os.pathsep.join([str(ROOT), *sys.path])
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _run(folder: Path, trials: int, *options: str, finalists: int = 0) -> None:
    search.main(["run", str(folder), "--task", TOY, "--trials", str(trials), "--finalists", str(finalists), *options])


def _wait_for(path: Path, text: str) -> None:
    for _ in range(600):
        if path.exists() and path.read_text() == text:
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} does not hold {text!r}")


def _kill(worker: subprocess.Popen[str]) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.communicate()


def test_a_whole_search_and_what_it_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "search"
    _run(folder, 10, "--repeats", "2", finalists=2)
    found = Search(folder)
    trials = found.study.trials
    assert len(trials) == 6 and all(t.state == TrialState.COMPLETE for t in trials)
    assert found.space.read(trials[0].params) == toy_search.TASK.default
    assert len({tuple(t.params.items()) for t in trials}) == 6
    assert sorted(path.name for path in (folder / "finals").glob("*.json")) == sorted(
        f"{t.number:04d}-{repeat}.json" for t in found.complete()[:2] for repeat in (1, 2)
    )
    winner = json.loads((folder / "winner.json").read_text())
    x, y = winner["values"]["a"]["x"], winner["values"]["b"]["y"]
    assert winner["search_score"] == x * (y + 1) - 1 and winner["scores"] == pytest.approx(
        [winner["search_score"] + 0.01, winner["search_score"] + 0.02]
    )
    assert found.study.user_attrs["winner"] == winner["trial"]
    assert not (folder / "tests").exists()
    capsys.readouterr()
    search.main(["export", str(folder)])
    assert capsys.readouterr().out == f"# toy\n{winner['values']!r}\n\n"
    search.main(["report", str(folder)])
    page = (folder / "report.html").read_text()
    assert "Optimism" in page and "after ma2ml, reconstructed" in page.lower() and "rank correlation" in page
    assert len(list((folder / "tests").glob("winner-*.json"))) == 5
    costs = page.split("<h2>Scores against toy costs")[1].split("<h2>")[0]
    dearest = max(trials, key=lambda t: t.value)
    assert f"<td>{dearest.number}</td><td>{1000 * found.space.read(dearest.params)['a']['x']:,}</td>" in costs
    once = page.split("<h2>Course")[0]
    search.main(["report", str(folder)])
    assert (folder / "report.html").read_text().split("<h2>Course")[0] == once
    _run(folder, 10, "--repeats", "2", finalists=2)
    assert len(Search(folder).study.trials) == 6


def test_a_killed_worker_is_retried_once_from_its_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    worker = _worker(folder, "--trials", "4", "--finalists", "0", TOY_PAUSE="600")
    _wait_for(folder / "trials" / "0000" / "starts.txt", "0\n")
    _wait_for(folder / "trials" / "0000" / "scores.txt", "-1.0\n0.0\n")
    _kill(worker)
    _run(folder, 4)
    found = Search(folder)
    first, again, *others = found.study.trials
    assert first.state == TrialState.FAIL and REPLACED in first.system_attrs
    assert "ended without a word" in first.user_attrs["reason"]
    assert again.state == TrialState.COMPLETE and again.params == first.params
    assert again.user_attrs["default"] and again.user_attrs["attempt"] == 2
    assert (folder / "trials" / "0000" / "starts.txt").read_text() == "0\n2\n"
    assert found.used(found.study.trials) == 4 and len(others) == 3
    assert len({tuple(t.params.items()) for t in found.study.trials[1:]}) == 4


def test_a_trial_that_loses_two_workers_has_failed(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    for starts in ("0\n", "0\n2\n"):
        worker = _worker(folder, "--trials", "3", "--finalists", "0", TOY_PAUSE="600")
        _wait_for(folder / "trials" / "0000" / "starts.txt", starts)
        _wait_for(folder / "trials" / "0000" / "scores.txt", "-1.0\n0.0\n")
        _kill(worker)
    _run(folder, 3)
    found = Search(folder)
    states = [(t.state, REPLACED in t.system_attrs) for t in found.study.trials]
    assert states[:2] == [(TrialState.FAIL, True), (TrialState.FAIL, False)]
    assert [state for state, _ in states[2:]] == [TrialState.COMPLETE] * 2
    assert found.study.trials[1].params not in [t.params for t in found.study.trials[2:]]


def test_two_workers_beside_each_other_keep_to_the_budget(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    options = ("--trials", "9", "--finalists", "2", "--repeats", "1")
    workers = [_worker(folder, *options) for _ in range(2)]
    outputs = [worker.communicate(timeout=300)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    trials = Search(folder).study.trials
    assert len(trials) == 7 and {t.state for t in trials} == {TrialState.COMPLETE}
    assert len({tuple(t.params.items()) for t in trials}) == 7
    assert len(list((folder / "finals").glob("*.json"))) == 2


def test_a_signal_stops_a_worker_and_costs_no_attempt(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    worker = _worker(folder, "--trials", "2", "--finalists", "0", TOY_PAUSE="600")
    _wait_for(folder / "trials" / "0000" / "scores.txt", "-1.0\n0.0\n")
    worker.send_signal(signal.SIGTERM)
    output, _ = worker.communicate(timeout=90)
    assert worker.returncode == 143 and "stopped by SIGTERM; the same command goes on" in output
    waiting = Search(folder).study.trials[1]
    assert waiting.state == TrialState.WAITING and waiting.user_attrs["attempt"] == 1
    _run(folder, 2)
    assert (folder / "trials" / "0000" / "starts.txt").read_text() == "0\n2\n"


def test_a_crash_keeps_its_reason_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOY_CRASH", "3")
    _run(tmp_path / "search", 9)
    trials = Search(tmp_path / "search").study.trials
    crashed = [t for t in trials if t.state == TrialState.FAIL]
    assert len(trials) == 9 and len(crashed) == 3
    assert {t.user_attrs["reason"] for t in crashed} == {"RuntimeError: the toy broke"}
    assert "trial 0 failed: RuntimeError: the toy broke" in capsys.readouterr().out


def test_a_result_that_comes_too_late_is_said_and_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create(tmp_path, Settings(TOY, 3, finalists=0))
    found = Search(tmp_path)
    trial, lease = found.claim()
    lease.release()
    other = Search(tmp_path)
    again, held = other.claim()  # finds nobody at the first one
    assert again.user_attrs["origin"] == trial.number and held.is_locked
    tell(found, trial, TrialState.COMPLETE, 99.0)
    assert "comes too late and is dropped" in capsys.readouterr().out
    assert Search(tmp_path).complete() == []


def test_the_front_has_all_that_nothing_cheaper_equals() -> None:
    rng = np.random.default_rng(0)
    costs, scores = rng.integers(0, 9, 40).tolist(), rng.integers(0, 9, 40).tolist()
    found = front(costs, scores)
    pairs = [(costs[i], scores[i]) for i in found]
    better = {
        (c, s) for c, s in zip(costs, scores, strict=True)
        if not any((d <= c and t >= s) and (d, t) != (c, s) for d, t in zip(costs, scores, strict=True))
    }  # fmt: skip
    assert pairs == sorted(pairs) and set(pairs) == better and len(found) == len(better)


@pytest.mark.parametrize("sampler", ["lite", "tpe", "random"])
def test_other_samplers(tmp_path: Path, sampler: str) -> None:
    _run(tmp_path / "search", 3, "--sampler", sampler)
    assert len(Search(tmp_path / "search").complete()) == 3


def test_pruned_trials_count_and_stop_their_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optuna.pruners import ThresholdPruner
    from searching import study

    monkeypatch.setitem(study.PRUNERS, "median", lambda: ThresholdPruner(lower=100))
    monkeypatch.setenv("TOY_PAUSE", "600")
    _run(tmp_path / "search", 2, "--pruner", "median")  # where x is 3, it would train for ten minutes
    first, second = Search(tmp_path / "search").study.trials
    assert (first.state, second.state) == (TrialState.PRUNED, TrialState.COMPLETE)
    assert first.value == 0.0 and toy_search.scores(tmp_path / "search" / "trials" / "0000") == [-1.0, 0.0]


@pytest.mark.parametrize(
    ("score", "reason"),
    [("nan", "its score is nan"), ("high", "could not convert string to float: 'high'"), (" ", "without a score")],
)
def test_a_training_without_a_number_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: str, reason: str
) -> None:
    monkeypatch.setenv("TOY_SCORE", score)
    with pytest.raises(SystemExit, match="no trial is complete"):
        _run(tmp_path / "search", 2)
    trials = Search(tmp_path / "search").study.trials
    assert [t.state for t in trials] == [TrialState.FAIL] * 2
    assert all(reason in t.user_attrs["reason"] for t in trials)


def test_a_search_in_which_all_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_CRASH", "3")
    with pytest.raises(SystemExit, match="no trial is complete, so there is no winner"):
        _run(tmp_path / "search", 1)


# -- refused -----------------------------------------------------------------------------------------------------


def test_another_search_is_not_mixed_in_and_more_trials_extend(tmp_path: Path) -> None:
    create(tmp_path, Settings(TOY, 3, finalists=0))
    create(tmp_path, Settings(TOY, 5, finalists=0))
    assert Search(tmp_path).settings.trials == 5
    with pytest.raises(SearchError, match=r"another search \(seed: 0 -> 1\)"):
        create(tmp_path, Settings(TOY, 5, finalists=0, seed=1))
    (tmp_path / "winner.json").write_text("{}")
    with pytest.raises(SearchError, match=r"winner of .* is frozen"):
        create(tmp_path, Settings(TOY, 6, finalists=0))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["status", "nowhere"], "holds no search"),
        (["run", "here", "--trials", "15"], "15 trainings leave 0 for the search"),
        (["run", "here", "--task", "none.py", "--trials", "40"], "Python file that defines TASK, got 'none.py'"),
        (["repair", "nowhere"], "holds no journal"),
    ],
)
def test_bad_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(SystemExit, match=message):
        search.main(command)


def test_report_and_export_wait_for_the_end(tmp_path: Path) -> None:
    create(tmp_path, Settings(TOY, 5, finalists=1, repeats=1))
    with pytest.raises(SystemExit, match="is not over"):
        search.main(["report", str(tmp_path)])


def test_a_torn_journal_is_said_and_repaired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(tmp_path, 2)
    journal = tmp_path / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "wor')
    with pytest.raises(SystemExit, match=r"in the middle of a line.*search.py repair"):
        search.main(["status", str(tmp_path)])
    search.main(["repair", str(tmp_path)])
    assert "the last line, of 19 bytes, was cut off" in capsys.readouterr().out
    assert journal.read_bytes() == whole
    assert (tmp_path / "journal.log.torn").read_bytes().endswith(b'"wor')
    assert "nothing was changed" in repair(tmp_path)
    assert len(Search(tmp_path).complete()) == 2
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b"{torn\n", *lines[1:]]))
    with pytest.raises(SystemExit, match=r"line 2 of .* is damaged, not only the last"):
        search.main(["repair", str(tmp_path)])
