"""A worker of a search: claims a trial, trains it in a process of its own, and tells what came of it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial, TrialState
from training.commands import say

from searching import guard
from searching.study import Search

#: Seconds between looks at a training.
PAUSE = 0.2
#: Seconds in which a training that is asked to stop may save.
SAVING = 60
#: Seconds in which signals count as one: schedulers and terminals can send several.
ONE = 2.0
_SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1]

#: Raises :class:`Stopped` where a signal has come.
Check = Callable[[], None]


class Stopped(Exception):
    """A signal asked the worker to stop."""


@contextmanager
def stopping() -> Iterator[Check]:
    """Note the first signal, for the check that is yielded: so nothing is left half done. A later one ends at once."""
    first: list[tuple[str, float]] = []

    def note(number: int, frame: object) -> None:
        if not first:
            first.append((signal.Signals(number).name, time.monotonic()))
        elif time.monotonic() - first[0][1] > ONE:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def check() -> None:
        if first:
            raise Stopped(first[0][0])

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def work(search: Search) -> int:
    """Evaluate trials until the budget of the search is spent and all have ended; returns how many were this
    worker's."""
    done = 0
    with stopping() as check:
        while True:
            check()
            if (claimed := search.claim()) is None:
                if search.over():
                    return done
                time.sleep(PAUSE)  # others' trials are the last, and may become this worker's, or change the finalists
                continue
            trial, lease = claimed
            try:
                evaluate(search, trial, check)
            except Stopped as stop:
                search.give_up(search.study._storage.get_trial(trial._trial_id), f"stopped by {stop}", counts=False)
                raise
            finally:
                lease.release()
            done += 1


def evaluate(search: Search, trial: Trial, check: Check = lambda: None) -> None:
    """Train a trial and tell its score, that it was pruned, or why it failed; one that was killed is queued again."""
    frozen = search.study._storage.get_trial(trial._trial_id)
    folder = search.folder_of(frozen)
    values = search.space.read(frozen.params)
    start = time.monotonic()
    reported = 0

    def look() -> bool:
        """Report new scores; whether the training is to be stopped."""
        nonlocal reported
        try:
            scores = list(search.task.scores(folder))
        except Exception:  # in the middle of a line; what stays so is said at the end
            return False
        new = scores[reported:]
        for score in new:
            if not is_number(score):  # which is said at the end
                return False
            trial.report(score, reported)
            reported += 1
        return bool(new) and trial.should_prune()

    try:
        command = search.task.command(values, folder, search.settings.seed)
    except Exception as error:  # the task's author's, and perhaps of these values alone
        return fail(search, trial, f"the task has no command: {type(error).__name__}: {error}")
    code = train(command, folder, look, check)
    trial.set_user_attr("seconds", round(time.monotonic() - start, 2))
    if code is None:
        return tell(search, trial, TrialState.PRUNED)
    if code < 0:
        reason = f"its training was killed by {signal.Signals(-code).name}"
        say(f"trial {trial.number}: {reason}")
        return search.give_up(search.study._storage.get_trial(trial._trial_id), reason)
    score, reason = last_score(search, folder)
    if code or score is None:
        fail(search, trial, (code and last_line(folder)) or reason or f"it ended with {code}")
    else:
        tell(search, trial, TrialState.COMPLETE, score)


def is_number(score: Any) -> bool:
    """Whether a score is one; it may be no finite one."""
    return isinstance(score, (int, float)) and not isinstance(score, bool)


def last_score(search: Search, folder: Path) -> tuple[float | None, str]:
    """The score of a training that has ended, or None and why there is none."""
    try:
        scores = list(search.task.scores(folder))
    except Exception as error:
        return None, f"its scores cannot be read: {type(error).__name__}: {error}"
    if not scores:
        return None, "it ended without a score"
    if not is_number(scores[-1]) or math.isnan(scores[-1]):
        return None, f"its score is {scores[-1]!r}"
    return float(scores[-1]), ""


def fail(search: Search, trial: Trial, reason: str) -> None:
    """Tell that a trial has failed, and why."""
    trial.set_user_attr("reason", reason)
    tell(search, trial, TrialState.FAIL)


def tell(search: Search, trial: Trial, state: TrialState, score: float | None = None) -> None:
    """Tell a result; one that comes after the trial was closed is dropped, and said."""
    try:
        search.study.tell(trial, score, state=state)
    except (UpdateFinishedTrialError, ValueError) as error:
        say(f"trial {trial.number}: its result comes too late and is dropped ({error})")
        return
    why = f": {trial.user_attrs['reason']}" if state == TrialState.FAIL else ""
    say(f"trial {trial.number}: {state.name.lower()}{f' {score:.2f}' if score is not None else ''}{why}")


def train(
    command: list[str], folder: Path, look: Callable[[], bool] = lambda: False, check: Check = lambda: None
) -> int | None:
    """Run a training all of whose processes end with this one, its output in ``folder/output.txt``.

    Returns:
        Its exit status, or None where ``look`` stopped it.

    Raises:
        Stopped: ``check`` did.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "linux":
        command = [sys.executable, guard.__file__, str(os.getpid()), str(folder), *command]
    with (folder / "output.txt").open("a") as output:
        # In a session of its own, a terminal's Ctrl-C comes to the worker alone, which asks the training to save.
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while process.poll() is None:
                check()
                if look():
                    _stop(process)
                    return None
                time.sleep(PAUSE)
            if process.returncode:
                check()  # the same signal may have ended it
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
            process.wait(timeout=SAVING)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGHUP if sys.platform == "linux" else signal.SIGKILL)
            process.wait()
