"""One set-up of a checkout at a time, also when one was killed and its commands live on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from typing import IO, Iterator

from environment.project import ROOT, WORK, SetupError, say


@contextlib.contextmanager
def only_one_setup() -> Iterator[IO[str]]:
    """Hold the lock of this checkout. Commands inherit it, so it stays held while those of a killed set-up run."""
    try:
        WORK.mkdir(exist_ok=True)
        lock = (WORK / "lock").open("a+")
    except OSError as error:
        raise SetupError(
            f"Cannot write to {ROOT} ({error.strerror}): give yourself write permission or clone elsewhere."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not end_orphans(lock):
                say("Another set-up of this checkout is running: waiting for it to finish.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def note_command(lock: IO[str], group: int) -> None:
    """Write down which process sets up and the process group of the command that it runs."""
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()} {group}")
    lock.flush()


def end_orphans(lock: IO[str]) -> bool:
    """End the command of a set-up that was killed; its group exists for sure, because somebody holds the lock."""
    lock.seek(0)
    setup, _, group = lock.read().partition(" ")
    if not group or runs(int(setup)):
        return False
    say("Ending what an interrupted set-up left running.")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(int(group), signal.SIGKILL)
    return True


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
