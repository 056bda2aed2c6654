"""Runs a command all of whose processes end with it, and which ends when whoever started this program ends.

    python guard.py STARTED_BY FOLDER COMMAND...

A worker that is killed cannot end its training, and what the training has started, such as the processes of torchrun,
is told of nobody's end. This program is: it ends them all, and holds FOLDER/training.lock until then, so that whoever
goes on in the folder waits for the last of them. SIGTERM is handed on to the command, which may save before it stops;
SIGHUP ends everything at once. It ends as the command does. Needs Linux.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

#: Of prctl: the signal that a process gets when its parent ends; to be the parent of orphans among one's descendants.
_PDEATHSIG, _SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _children() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rpartition(")")[2].split()[1]  # a name may hold blanks
        except (OSError, IndexError):  # it has ended in the meantime
            continue
        if int(parent) == os.getpid():
            found.append(int(path.parent.name))
    return found


def _end_all() -> None:
    """Kill all descendants: those whose parents are killed become children of this process."""
    while True:
        for child in _children():
            os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def main(parent: str, folder: str, *command: str) -> int:
    import fcntl  # which Windows lacks, where this file is imported, too

    signal.signal(signal.SIGHUP, lambda number, frame: sys.exit(128 + number))
    _prctl(_SUBREAPER, 1)
    _prctl(_PDEATHSIG, signal.SIGHUP)
    if os.getppid() != int(parent):  # it has ended in the meantime
        return 128 + signal.SIGHUP
    with (Path(folder) / "training.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            process = subprocess.Popen(command, preexec_fn=lambda: _prctl(_PDEATHSIG, signal.SIGKILL))
            signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
            return process.wait()
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            _end_all()


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    sys.exit(code)
