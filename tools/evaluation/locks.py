"""A lock on a file, so that commands that share a folder do not do the same thing twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class Busy(Exception):
    """Another command is at it: come back later."""


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock; the system lets go of it when a process is killed.

    Args:
        path: Of the lock's file.
        wait: Until it is free, for what takes a moment.

    Raises:
        Busy: It is held, and not waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise Busy(str(path)) from None
    try:
        yield
    finally:
        lock.release()
