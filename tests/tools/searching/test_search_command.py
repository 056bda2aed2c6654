"""tools/search.py on a toy task: its budget, workers that die, results that fail, and what it tells."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import search
import toy_search
import toy_torchrun
from filelock import FileLock
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState
from searching import study
from searching.finals import run_finals, winner
from searching.page import front, status
from searching.study import Search, SearchError, Settings, create, repair
from searching.worker import Stopped, evaluate, tell, work

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
    folder = tmp_path / "a search"
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
    assert "\nnot counted, 1 trial: its worker ended without a word" in status(found)
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


LIMITED = """
from searching.task import Task
from backbones.search import Agent, Limit, Ordinal, Space
limit = Limit(lambda v: v["x"] * v["y"], {at_most})
agent = Agent(x=Ordinal(list(range(1, 40))), y=Ordinal(list(range(1, 40))), limits=limit)
TASK = Task(Space(a=agent), {{"a": {{"x": 1, "y": 1}}}}, lambda values, folder, seed: ["true"], lambda folder: [1.0])
"""


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_samplers_that_know_no_limits_pass_over_what_exceeds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    """And each worker, or the same one later, draws other random numbers."""
    task = tmp_path / "task.py"
    task.write_text(LIMITED.format(at_most=300))
    create(tmp_path, Settings(str(task), 9, finalists=0, sampler=sampler))
    params = []
    for _ in range(6):
        found = Search(tmp_path)  # as in a new process
        trial, lease = found.claim()
        params.append(tuple(trial.params.values()))
        tell(found, trial, TrialState.COMPLETE, float(trial.number % 7))
        lease.release()
    assert len(set(params)) == 6 and all((x + 1) * (y + 1) <= 300 for x, y in params)
    trials = Search(tmp_path).study.trials
    beyond = [t for t in trials if REPLACED in t.system_attrs]
    assert beyond and all("allowed are at most 300" in t.user_attrs["reason"] for t in beyond)
    assert found.used(trials) == 6
    monkeypatch.setattr(study, "PASSED_OVER", 0)
    with pytest.raises(SearchError, match="exceeds a limit 0 times; ma2ml and lite know limits"):
        found.claim()


class FirstPruner(BasePruner):
    """Prunes the first trial when it has told of some steps."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.number == 0 and len(trial.intermediate_values) >= 2


def test_pruned_trials_count_and_stop_their_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(study.PRUNERS, "median", FirstPruner)
    monkeypatch.setenv("TOY_PAUSE", "600")
    _run(tmp_path / "search", 2, "--pruner", "median")  # where x is 3, it would train for ten minutes
    first, second = Search(tmp_path / "search").study.trials
    assert (first.state, second.state) == (TrialState.PRUNED, TrialState.COMPLETE)
    assert first.value == 0.0 and toy_search.scores(tmp_path / "search" / "trials" / "0000") == [-1.0, 0.0]


def test_a_pruned_training_of_two_processes_stops_in_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They agree on the step, save, and none is left."""
    monkeypatch.setitem(study.PRUNERS, "median", FirstPruner)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    create(tmp_path, Settings(toy_torchrun.__file__, 1, finalists=0, pruner="median"))
    found = Search(tmp_path)
    assert work(found) == 1
    (trial,) = found.study.trials
    assert trial.state == TrialState.PRUNED
    folder = tmp_path / "trials" / "0000"
    steps = {(folder / f"stopped-{rank}.txt").read_text() for rank in (0, 1)}
    assert steps == {str(len(toy_torchrun.scores(folder)))}


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


def test_a_training_that_is_killed_is_queued_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by the kernel, for its memory: its worker lives."""
    monkeypatch.setenv("TOY_KILL", "3")
    create(tmp_path, Settings(TOY, 2, finalists=0))
    found = Search(tmp_path)
    for _ in range(2):
        trial, lease = found.claim()
        evaluate(found, trial)
        lease.release()
    first, again = found.study.trials
    assert [t.user_attrs["reason"] for t in (first, again)] == ["its training was killed by SIGKILL"] * 2
    assert again.params == first.params and (found.used([first]), found.used([again])) == (0, 1)
    assert (tmp_path / "trials" / "0000" / "starts.txt").read_text() == "0\n2\n"
    assert "trial 0: its training was killed by SIGKILL" in capsys.readouterr().out


def test_finals_that_are_killed_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(tmp_path, Settings(TOY, 2, finalists=1, repeats=1))
    found = Search(tmp_path)
    trial, lease = found.claim()
    tell(found, trial, TrialState.COMPLETE, 1.0)
    lease.release()
    monkeypatch.setenv("TOY_KILL", "3")
    run_finals(found)  # killed twice
    assert "error" in json.loads((tmp_path / "finals" / "0000-1.json").read_text())
    assert (tmp_path / "finals" / "0000-1" / "starts.txt").read_text() == "0\n2\n"


def test_a_finalist_of_which_a_training_failed_does_not_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create(tmp_path, Settings(TOY, 9, finalists=2, repeats=2))
    found = Search(tmp_path)
    work(found)
    best, second = (trial.number for trial in found.complete()[:2])
    (tmp_path / "finals").mkdir(exist_ok=True)
    (tmp_path / "finals" / f"{best:04d}-2.json").write_text('{"error": "RuntimeError: diverged"}')
    run_finals(found)
    chosen = winner(found)
    assert chosen is not None and chosen["trial"] == second and len(chosen["scores"]) == 2
    rows = {row["trial"]: row["failed"] for row in chosen["finalists"]}
    assert rows == {best: ["RuntimeError: diverged"], second: []}
    assert f"finals/{best:04d}-2 failed: RuntimeError: diverged" in status(found)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": lambda folder: [1.0, None]}, "its score is None"),
        ({"scores": lambda folder: [1.0, "high"]}, "its score is 'high'"),
        ({"scores": lambda folder: [][0]}, "scores cannot be read: IndexError: list index"),
        ({"command": lambda *arguments: {}["mixup"]}, "the task has no command: KeyError: 'mixup'"),
        ({"command": lambda *arguments: ["/no/program"]}, "No such file or directory: '/no/program'"),
    ],
)
def test_what_breaks_in_a_task_is_a_failed_trial(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    create(tmp_path, Settings(TOY, 2, finalists=0))
    found = Search(tmp_path)
    found.task = replace(found.task, **change)
    trial, lease = found.claim()
    evaluate(found, trial)
    lease.release()
    assert found.study.trials[0].state == TrialState.FAIL
    assert reason in found.study.trials[0].user_attrs["reason"]


def test_all_processes_of_a_training_end_when_its_worker_is_killed(tmp_path: Path) -> None:
    """Such as those of torchrun, which have sessions of their own and outlive it."""
    training = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '600'], start_new_session=True); "
        "open(sys.argv[1], 'w').write(f'{p.pid}\\n'); p.wait()"
    )
    worker = "import sys, pathlib, searching.worker as w; w.train(sys.argv[2:], pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", worker, str(tmp_path), sys.executable, "-c", training, str(tmp_path / "pid.txt")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])})
    for _ in range(600):
        if (tmp_path / "pid.txt").exists() and (text := (tmp_path / "pid.txt").read_text()).endswith("\n"):
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    with FileLock(tmp_path / "training.lock", timeout=60):  # whoever goes on here waits for this
        assert not Path(f"/proc/{int(text)}").exists()


def test_a_signal_while_a_trial_is_claimed_costs_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(tmp_path, Settings(TOY, 2, finalists=0))
    found = Search(tmp_path)
    suggest = found.space.suggest

    def interrupted(trial: optuna.Trial) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return suggest(trial)

    monkeypatch.setattr(found.space, "suggest", interrupted)
    with pytest.raises(Stopped, match="SIGINT"):
        work(found)
    first, again = found.study.trials
    assert first.user_attrs["reason"] == "stopped by SIGINT" and again.state == TrialState.WAITING
    assert again.user_attrs["attempt"] == 1 and found.used(found.study.trials) == 0


def test_a_worker_stays_while_anything_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another's trial, the last one, can be queued again between two looks."""
    create(tmp_path, Settings(TOY, 1, finalists=0))
    found = Search(tmp_path)
    lease = found.claim()[1]
    found.give_up(found.study.trials[0], "stopped", counts=False)
    lease.release()
    claim, looks = found.claim, itertools.count()
    monkeypatch.setattr(found, "claim", lambda: claim() if next(looks) else None)
    assert work(found) == 1 and found.over()


def test_a_search_that_is_extended_is_extended_for_all_workers(tmp_path: Path) -> None:
    create(tmp_path, Settings(TOY, 1, finalists=0))
    found = Search(tmp_path)
    trial, lease = found.claim()
    tell(found, trial, TrialState.COMPLETE, 1.0)
    lease.release()
    assert found.over() and found.claim() is None
    create(tmp_path, Settings(TOY, 2, finalists=0))
    assert not found.over() and winner(found) is None
    assert found.claim() is not None


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
        (["run", "here", "--task", "none.py", "--trials", "40"], "Python file that defines TASK, got '.*none.py'"),
        (["run", "here", "--task", "~/none.py"], r"Python file that defines TASK, got '[^~]*/none.py'"),
        (["run", "here", "--task", TOY, "--finalists", "-1"], "--finalists must be at least 0, got -1"),
        (["run", "here", "--task", TOY, "--repeats", "0"], "--repeats must be at least 1, got 0"),
        (["run", "here", "--task", TOY, "--seed", "-1"], "--seed must be at least 0, got -1"),
        (["run", "here", "--task", TOY, "--trials", "-40"], "--trials must be at least 1, got -40"),
        (["run", "here", "--task", "bad.py"], r"default recipe of .*bad.py is not in its space: .* has 1 cost"),
        (["status", "search.json"], "holds no search"),
        (["run", "search.json", "--trials", "40"], "File exists"),
        (["run", "mistyped"], "there is no search in .*mistyped; --task or --trials begins one"),
        (["repair", "nowhere"], "holds no journal"),
    ],
)
def test_bad_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "search.json").write_text("{}")
    (tmp_path / "bad.py").write_text(LIMITED.format(at_most=300).replace("300", "300, at_least=2"))
    with pytest.raises(SystemExit, match=message):
        search.main(command)
    assert not (tmp_path / "here" / "search.json").exists()  # which would make it another search


def test_a_task_is_found_from_wherever_a_worker_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "task.py").write_text(LIMITED.format(at_most=300))
    monkeypatch.chdir(tmp_path)
    search.main(["run", "here", "--task", "task.py", "--trials", "1", "--finalists", "0"])
    monkeypatch.chdir(tmp_path / "here")
    search.main(["run", ".", "--task", "../task.py"])
    search.main(["status", "."])
    assert len(Search(tmp_path / "here").complete()) == 1


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


def test_half_a_line_of_a_worker_that_was_killed_is_cut_off_by_the_next_that_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create(tmp_path, Settings(TOY, 2, finalists=0))
    found = Search(tmp_path)
    trial, lease = found.claim()
    journal = tmp_path / "journal.log"
    for _ in range(2):
        with journal.open("ab") as file:
            file.write(b'{"op_code": 5, "wor')
        trial.report(1.0, len(trial.study.trials[0].intermediate_values))
    assert "the last line, of 19 bytes, was cut off" in capsys.readouterr().out
    assert len(list(tmp_path.glob("journal.log.torn*"))) == 2
    tell(found, trial, TrialState.COMPLETE, 1.0)
    lease.release()
    assert Search(tmp_path).study.trials[0].intermediate_values == {0: 1.0, 1: 1.0}


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(tmp_path, Settings(TOY, 2, finalists=0))
    found = Search(tmp_path)
    whole = (tmp_path / "journal.log").read_bytes()

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(study.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            found.claim()
        assert (tmp_path / "journal.log").read_bytes() == whole
        with pytest.raises(SystemExit, match=r"error: \[Errno 28\] No space left on device"):
            _run(tmp_path, 2)
    _run(tmp_path, 2)
    assert len(Search(tmp_path).complete()) == 2


@pytest.mark.parametrize("name", [study.JOURNAL_LOCK, study.DECISION_LOCK])
def test_a_lock_that_stays_held_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    create(tmp_path, Settings(TOY, 2, finalists=0))
    monkeypatch.setattr(study, "PATIENCE", 0.1)
    with FileLock(tmp_path / name), pytest.raises(SystemExit, match=rf"held .*{name} for .* is a worker suspended"):
        _run(tmp_path, 2)
    _run(tmp_path, 2)
