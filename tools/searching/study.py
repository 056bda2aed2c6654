"""The trials of a search in a folder: what is asked, who evaluates what, and what becomes of it when a worker dies.

``journal.log`` is Optuna's. A worker holds the lock of its trial while it evaluates it. The system lets go of that when
the worker ends, however it ends, so a trial that runs and is not locked has lost its worker: it is closed as failed,
and put in the queue again once, to go on from its checkpoint. Which trial comes next is decided under a lock, with the
budget in view, so that several workers never evaluate more than it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
from evaluation.locks import locked
from filelock import FileLock, Timeout
from files.whole import write_json
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from backbones.search import MA2MLLiteSampler, MA2MLSampler, Space
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
        try:
            self.settings = Settings(**json.loads((folder / "search.json").read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise SearchError(f"{folder} holds no search: {error}") from None
        self.task: Task = open_task(self.settings.task)
        self.space = self.task.space
        self.journal = folder / "journal.log"
        with journal_lock(folder):  # nobody is in the middle of writing now
            if torn(self.journal):
                raise SearchError(
                    f"{self.journal} ends in the middle of a line, since a machine or a disk failed: "
                    f"`tools/search.py repair {folder}` cuts that line off and keeps a copy"
                )
        sampler = SAMPLERS[self.settings.sampler](self.space, self.settings.seed)
        self.study = optuna.create_study(
            study_name="search",
            storage=JournalStorage(JournalFileBackend(str(self.journal), lock_obj=_Lock(folder))),
            sampler=sampler,
            pruner=PRUNERS[self.settings.pruner](),
            direction="maximize",
            load_if_exists=True,
        )
        self.space.attach(self.study)

    # -- claims -----------------------------------------------------------------------------------------------------

    def claim(self) -> tuple[Trial, FileLock] | None:
        """The next trial to evaluate and its lock; None where the budget is spent."""
        with locked(self.folder / "claim.lock", wait=True):
            self.reclaim()
            trials = self.study.get_trials(deepcopy=False)
            if not trials:
                self.study.enqueue_trial(self.space.stored(self.task.default), user_attrs={"default": True})
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not waiting and self.used(trials) >= self.settings.searched:
                return None
            trial = self.study.ask()
            lease = self.lease(trial.number)
            lease.acquire(timeout=0)
            try:
                self.space.suggest(trial)
            except BaseException as error:  # a sampler that knows no limits
                lease.release()
                self.study.tell(trial, state=TrialState.FAIL)
                if isinstance(error, ValueError):
                    raise SearchError(str(error)) from None
                raise
            return trial, lease

    def running(self) -> bool:
        """Whether a trial is being evaluated, by whatever worker."""
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def over(self) -> bool:
        """Whether all trials of the search have ended."""
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
        SearchError: It is another search, or the settings do not fit each other.
    """
    if settings.searched < max(1, settings.finalists):
        raise SearchError(
            f"{settings.trials} trainings leave {settings.searched} for the search, since {settings.finalists} "
            f"finalists are trained {settings.repeats} times more: give more --trials or fewer --finalists"
        )
    path = folder / "search.json"
    with locked(folder / "claim.lock", wait=True):
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


# -- journals ----------------------------------------------------------------------------------------------------


def journal_lock(folder: Path) -> FileLock:
    """The lock that whoever reads or writes the journal holds; the system frees it when its holder ends."""
    return FileLock(folder / "journal.lock")


class _Lock:
    """The same for Optuna, whose own locks outlive a worker that is killed."""

    def __init__(self, folder: Path) -> None:
        self.lock = journal_lock(folder)

    def acquire(self) -> bool:
        self.lock.acquire()
        return True

    def release(self) -> None:
        self.lock.release()


def torn(journal: Path) -> bool:
    """Whether a journal ends in the middle of a line."""
    if not journal.exists() or not journal.stat().st_size:
        return False
    with journal.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"


def repair(folder: Path) -> str:
    """Cut a half-written last line off the journal; the journal as it was stays beside it. Says what was done."""
    journal = folder / "journal.log"
    with journal_lock(folder):
        if not journal.exists():
            raise SearchError(f"{folder} holds no journal")
        content = journal.read_bytes()
        lines = content.splitlines(keepends=True)
        bad = [i for i, line in enumerate(lines) if not _is_json(line)]
        if not bad and not torn(journal):
            return f"{journal} is whole: nothing was changed"
        if bad and bad[0] != len(lines) - 1:
            raise SearchError(
                f"{journal}: line {bad[0] + 1} of {len(lines)} is damaged, not only the last; see its backup"
            )
        copy = journal.with_name("journal.log.torn")
        shutil.copy2(journal, copy)
        part = journal.with_name("journal.log.part")
        part.write_bytes(b"".join(lines[:-1]))
        part.replace(journal)
        return f"{journal}: the last line, of {len(lines[-1])} bytes, was cut off; {copy} is as it was"


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return line.endswith(b"\n")
