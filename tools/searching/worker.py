"""A worker of a search: claims a trial, trains it in a process of its own, and tells what came of it."""

from __future__ import annotations

import ctypes
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial, TrialState
from training.commands import say

from searching.study import Search

#: Seconds between looks at a training.
PAUSE = 0.2
_PDEATHSIG = 1


class Stopped(Exception):
    """A signal asked the worker to stop."""


@contextmanager
def stopping() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into :class:`Stopped`."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def work(search: Search) -> int:
    """Evaluate trials until the budget of the search is spent and all have ended; returns how many were this
    worker's."""
    done = 0
    with stopping():
        while (claimed := search.claim()) is not None or search.running():
            if claimed is None:  # others' trials are the last, and may become this worker's, or change the finalists
                time.sleep(PAUSE)
                continue
            trial, lease = claimed
            try:
                evaluate(search, trial)
            except Stopped as stop:
                search.give_up(search.study._storage.get_trial(trial._trial_id), f"stopped by {stop}", counts=False)
                raise
            finally:
                lease.release()
            done += 1
    return done


def evaluate(search: Search, trial: Trial) -> None:
    """Train a trial and tell its score, that it was pruned, or why it failed."""
    frozen = search.study._storage.get_trial(trial._trial_id)
    folder = search.folder_of(frozen)
    values = search.space.read(frozen.params)
    start = time.monotonic()
    reported = 0

    def look() -> bool:
        """Report new scores; whether the training is to be stopped."""
        nonlocal reported
        try:
            scores = search.task.scores(folder)
        except (ValueError, KeyError, TypeError):  # in the middle of a line; what stays so is said at the end
            return False
        for step in range(reported, len(scores)):
            trial.report(scores[step], step)
        reported = len(scores)
        return reported > 0 and trial.should_prune()

    code = train(search.task.command(values, folder, search.settings.seed), folder, look)
    trial.set_user_attr("seconds", round(time.monotonic() - start, 2))
    if code is None:
        tell(search, trial, TrialState.PRUNED)
        return
    score, reason = last_score(search, folder)
    if code or score is None:
        trial.set_user_attr("reason", (code and last_line(folder)) or reason or f"it ended with {code}")
        tell(search, trial, TrialState.FAIL)
    else:
        tell(search, trial, TrialState.COMPLETE, score)


def last_score(search: Search, folder: Path) -> tuple[float | None, str]:
    """The score of a training that has ended, or None and why there is none."""
    try:
        scores = search.task.scores(folder)
    except (ValueError, KeyError, TypeError) as error:
        return None, f"its scores cannot be read: {error}"
    if not scores:
        return None, "it ended without a score"
    if isinstance(scores[-1], bool) or not isinstance(scores[-1], (int, float)) or math.isnan(scores[-1]):
        return None, f"its score is {scores[-1]!r}"
    return float(scores[-1]), ""


def tell(search: Search, trial: Trial, state: TrialState, score: float | None = None) -> None:
    """Tell a result; one that comes after the trial was closed is dropped, and said."""
    try:
        search.study.tell(trial, score, state=state)
    except (UpdateFinishedTrialError, ValueError) as error:
        say(f"trial {trial.number}: its result comes too late and is dropped ({error})")
        return
    why = f": {trial.user_attrs['reason']}" if state == TrialState.FAIL else ""
    say(f"trial {trial.number}: {state.name.lower()}{f' {score:.2f}' if score is not None else ''}{why}")


def train(command: list[str], folder: Path, look: Callable[[], bool] = lambda: False) -> int | None:
    """Run a training that ends with this process, its output in ``folder/output.txt``; None where ``look`` stopped
    it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("a") as output:
        options = {"stdout": output, "stderr": subprocess.STDOUT, "preexec_fn": _end_with_parent}
        process = subprocess.Popen(command, **options)
        try:
            while process.poll() is None:
                if look():
                    _stop(process)
                    return None
                time.sleep(PAUSE)
            look()
            return process.returncode
        finally:
            _stop(process)


def last_line(folder: Path) -> str:
    """The last line of a training's output."""
    lines = (folder / "output.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a training to save and stop, and end it where it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    """A training whose worker was killed must not go on writing where the next worker goes on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
