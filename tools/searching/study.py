"""The trials of a search in a folder: what is asked, who evaluates what, and what becomes of it when a worker dies.

``journal.log`` is Optuna's. A worker holds the lock of its trial while it evaluates it. The system lets go of that when
the worker ends, however it ends, so a trial that runs and is not locked has lost its worker: it is closed as failed,
and put in the queue again once, to go on from its checkpoint. Which trial comes next is decided under a lock, with the
budget in view, so that several workers never evaluate more than it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from files.whole import write_json
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from training.commands import say

from backbones.search import Infeasible, MA2MLLiteSampler, MA2MLSampler, Space
from backbones.search.replay import REPLACED
from backbones.search.reservations import proposed
from searching.task import Task, open_task

SAMPLERS: dict[str, Callable[[Space, int], BaseSampler]] = {
    "ma2ml": MA2MLSampler,
    "lite": MA2MLLiteSampler,
    "tpe": lambda space, seed: TPESampler(seed=seed),
    "random": lambda space, seed: RandomSampler(seed=seed),
}
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "none": NopPruner,
    "median": lambda: MedianPruner(n_startup_trials=8, n_warmup_steps=5),
}
#: How often a trial is begun: a second time where its worker was killed.
ATTEMPTS = 2
#: How many proposals beyond a limit are passed over, by samplers that know none.
PASSED_OVER = 1000
#: Seconds after which a lock that is held for moments tells of a worker that is suspended.
PATIENCE = 60.0


@dataclass(frozen=True)
class Settings:
    """What a search is, as ``search.json`` keeps it.

    Attributes:
        task: ``"digits"`` or a Python file.
        trials: How many trainings there are in all, finals included.
        finalists: The best trials that are trained again.
        repeats: How often each of them is.
        sampler, pruner: By name.
        seed: Of the sampler, and of the trials' trainings.
    """

    task: str
    trials: int
    finalists: int = 5
    repeats: int = 3
    sampler: str = "ma2ml"
    pruner: str = "none"
    seed: int = 0

    @property
    def searched(self) -> int:
        """How many trainings are of the search itself."""
        return self.trials - self.finalists * self.repeats


class SearchError(Exception):
    """What the user should read in one line."""


class Search:
    """A search in a folder.

    Args:
        folder: With ``search.json``.

    Raises:
        SearchError: It holds none, or its journal cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = read_settings(folder)
        self.task: Task = open_task(self.settings.task)
        self.space = self.task.space
        self.journal = folder / "journal.log"
        with held(folder / JOURNAL_LOCK):  # nobody is in the middle of writing now
            if torn(self.journal):
                raise SearchError(
                    f"{self.journal} ends in the middle of a line, since a machine or a disk failed: "
                    f"`tools/search.py repair {folder}` cuts that line off and keeps a copy"
                )
        self.study = optuna.create_study(
            study_name="search",
            storage=JournalStorage(Journal(self.journal)),
            sampler=SAMPLERS[self.settings.sampler](self.space, self.settings.seed),
            pruner=PRUNERS[self.settings.pruner](),
            direction="maximize",
            load_if_exists=True,
        )
        self.space.attach(self.study)

    # -- claims -----------------------------------------------------------------------------------------------------

    def claim(self) -> tuple[Trial, FileLock] | None:
        """The next trial to evaluate and its lock; None where the budget is spent."""
        with self.deciding():
            self.settings = read_settings(self.folder)  # another command may have extended the search
            self.reclaim()
            trials = self.study.get_trials(deepcopy=False)
            if not trials:
                self.study.enqueue_trial(self.space.stored(self.task.default), user_attrs={"default": True})
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not waiting and self.used(trials) >= self.settings.searched:
                return None
            for _ in range(PASSED_OVER):
                if (trial := self._ask()) is not None:
                    lease = self.lease(trial.number)
                    lease.acquire(timeout=0)
                    return trial, lease
            raise SearchError(
                f"the sampler proposed what exceeds a limit {PASSED_OVER} times; ma2ml and lite know limits"
            )

    def _ask(self) -> Trial | None:
        """A trial whose values are chosen; None for one that exceeds a limit, which is closed and costs no budget."""
        if self.settings.sampler in ("tpe", "random"):
            # Their random numbers begin anew in every worker, which would all propose the same.
            number = len(self.study.get_trials(deepcopy=False))
            seed = int(np.random.SeedSequence([self.settings.seed, number]).generate_state(1)[0])
            self.study.sampler = SAMPLERS[self.settings.sampler](self.space, seed)
        trial = self.study.ask()
        try:
            self.space.suggest(trial)
        except ValueError as error:
            trial.set_user_attr("reason", str(error))
            self.study._storage.set_trial_system_attr(trial._trial_id, REPLACED, True)
            self.study.tell(trial, state=TrialState.FAIL)
            if isinstance(error, Infeasible):
                return None
            raise SearchError(str(error)) from None
        return trial

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Hold what all commands on the folder hold while they decide something; not to be nested."""
        with held(self.folder / DECISION_LOCK):
            yield

    def over(self) -> bool:
        """Whether all trials of the search have ended."""
        self.settings = read_settings(self.folder)
        trials = self.study.get_trials(deepcopy=False)
        return all(t.state.is_finished() for t in trials) and self.used(trials) >= self.settings.searched

    @staticmethod
    def used(trials: list[FrozenTrial]) -> int:
        """How much of the budget trials have used: those that another has replaced have not."""
        return sum(trial.state != TrialState.WAITING and REPLACED not in trial.system_attrs for trial in trials)

    def lease(self, number: int) -> FileLock:
        """The lock that whoever evaluates a trial holds."""
        path = self.folder / "leases" / f"{number:04d}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def reclaim(self) -> None:
        """Close the trials whose workers have died, and queue them again."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            lease = self.lease(trial.number)
            try:
                lease.acquire(timeout=0)
            except Timeout:
                continue
            try:
                self.give_up(trial, "its worker ended without a word")
            finally:
                lease.release()

    def give_up(self, trial: FrozenTrial, reason: str, *, counts: bool = True) -> None:
        """Close a trial that has no result, and queue it again if it was not begun too often.

        Args:
            trial: It runs.
            reason: Why.
            counts: Whether this was one of the attempts that it has.
        """
        storage = self.study._storage
        attempt = trial.user_attrs.get("attempt", 1)
        params = {**proposed(trial), **trial.params}
        again = self.space.levels(params) is not None and (attempt < ATTEMPTS or not counts)
        storage.set_trial_user_attr(trial._trial_id, "reason", reason)
        if again or self.space.levels(params) is None:
            storage.set_trial_system_attr(trial._trial_id, REPLACED, True)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        if again:
            kept = {k: v for k, v in trial.user_attrs.items() if k in ("default",)}
            of = {"origin": origin(trial), "attempt": attempt + counts, **kept}
            self.study.enqueue_trial(dict(params), user_attrs=of)

    def folder_of(self, trial: FrozenTrial | Trial) -> Path:
        """Where a trial trains; one that was begun again goes on in the first one's."""
        return self.folder / "trials" / f"{origin(trial):04d}"

    def complete(self) -> list[FrozenTrial]:
        """Complete trials, the best first, of equals the earlier."""
        found = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return sorted(found, key=lambda trial: (-trial.value, trial.number))


def origin(trial: FrozenTrial | Trial) -> int:
    """The number of the trial that this one is, or goes on."""
    return int(trial.user_attrs.get("origin", trial.number))


def create(folder: Path, settings: Settings) -> None:
    """Write ``search.json``, or check that it says the same; a larger number of trials extends a search.

    Raises:
        SearchError: It is another search, the settings do not fit each other, or they cannot be searched by.
    """
    for name, least in (("trials", 1), ("finalists", 0), ("repeats", 1), ("seed", 0)):
        if (given := getattr(settings, name)) < least:
            raise SearchError(f"--{name} must be at least {least}, got {given}")
    if settings.searched < max(1, settings.finalists):
        raise SearchError(
            f"{settings.trials} trainings leave {settings.searched} for the search, since {settings.finalists} "
            f"finalists are trained {settings.repeats} times more: give more --trials or fewer --finalists"
        )
    task = open_task(settings.task)
    try:
        task.space.stored(task.default)
    except (ValueError, TypeError) as error:
        raise SearchError(f"the default recipe of {settings.task} is not in its space: {error}") from None
    path = folder / "search.json"
    with held(folder / DECISION_LOCK):
        if path.exists():
            known = json.loads(path.read_text())
            differs = [k for k, v in asdict(settings).items() if known.get(k) != v and k != "trials"]
            if differs:
                changes = ", ".join(f"{k}: {known.get(k)!r} -> {getattr(settings, k)!r}" for k in differs)
                raise SearchError(f"{folder} holds another search ({changes}); give another folder")
            if settings.trials <= known["trials"]:
                return
            if (folder / "winner.json").exists():
                raise SearchError(f"the winner of {folder} is frozen, so it cannot be extended; give another folder")
        write_json(path, asdict(settings))


def read_settings(folder: Path) -> Settings:
    """What ``search.json`` says.

    Raises:
        SearchError: There is none, or it says something else.
    """
    try:
        return Settings(**json.loads((folder / "search.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise SearchError(f"{folder} holds no search: {error}") from None


# -- journals ----------------------------------------------------------------------------------------------------

#: Held while the journal is read or written, and while it is decided what is done next.
JOURNAL_LOCK, DECISION_LOCK = "journal.lock", "claim.lock"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock that others hold for moments; the system frees it when its holder ends.

    Raises:
        SearchError: It is held for long.
    """
    lock = FileLock(path, timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise SearchError(
            f"another process has held {path} for {PATIENCE:.0f} s: is a worker suspended? Go on with it, or end it"
        ) from None
    try:
        yield
    finally:
        lock.release()


class _Lock:
    """Optuna's interface to a lock; its own ones outlive a worker that is killed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def acquire(self) -> bool:
        self._held = held(self.path)
        self._held.__enter__()
        return True

    def release(self) -> None:
        self._held.__exit__(None, None, None)


class Journal(JournalFileBackend):
    """Optuna's journal, which no line is appended to behind half a line.

    What a full disk or the end of a worker has cut is no part of the study: it was never read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=_Lock(path.with_name(JOURNAL_LOCK)))
        self.path = path

    def append_logs(self, logs: list[Mapping[str, Any]]) -> None:
        with held(self.path.with_name(JOURNAL_LOCK)):
            if torn(self.path):
                say(cut(self.path))
            size = self.path.stat().st_size
            text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            try:
                with self.path.open("ab") as file:
                    file.write(text.encode())
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, size)
                raise


def torn(journal: Path) -> bool:
    """Whether a journal ends in the middle of a line."""
    if not journal.exists() or not journal.stat().st_size:
        return False
    with journal.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"


def cut(journal: Path) -> str:
    """Cut the last line off a journal, which stays beside it as it was. Says what was done."""
    lines = journal.read_bytes().splitlines(keepends=True)
    number, copy = 1, journal.with_name("journal.log.torn")
    while copy.exists():
        number += 1
        copy = journal.with_name(f"journal.log.torn-{number}")
    shutil.copy2(journal, copy)
    os.truncate(journal, sum(map(len, lines[:-1])))
    return f"{journal}: the last line, of {len(lines[-1])} bytes, was cut off; {copy} is as it was"


def repair(folder: Path) -> str:
    """Cut a half-written last line off the journal; the journal as it was stays beside it. Says what was done."""
    journal = folder / "journal.log"
    if not journal.exists():
        raise SearchError(f"{folder} holds no journal")
    with held(folder / JOURNAL_LOCK):
        lines = journal.read_bytes().splitlines(keepends=True)
        bad = [i for i, line in enumerate(lines) if not _is_json(line)]
        if not bad:
            return f"{journal} is whole: nothing was changed"
        if bad[0] != len(lines) - 1:
            raise SearchError(
                f"{journal}: line {bad[0] + 1} of {len(lines)} is damaged, not only the last, so nothing was changed: "
                "restore it from a backup, or start again in another folder"
            )
        return cut(journal)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return line.endswith(b"\n")
