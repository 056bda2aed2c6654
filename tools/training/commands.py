"""Commands that take a while: their output is kept, and their progress shown."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from files.paths import ROOT

#: What is shown of mmengine's log lines.
PROGRESS = re.compile(r"Iter\((train|val|test)\) *\[ *(\d+)/(\d+)\].*?eta: ([\d:, day]+?) {2}.*?(?:  loss: ([\d.]+)|$)")


#: The process that started a command, for :func:`end_with_parent`.
_PARENT = "STARTED_BY"
#: Of prctl: the signal that a process gets when the one that started it ends.
_PDEATHSIG = 1

#: What :func:`run` has started in any thread.
_RUNNING: set[subprocess.Popen[str]] = set()


def stop_all() -> None:
    """Ask all commands that run to stop; a training saves first."""
    for process in list(_RUNNING):
        process.terminate()


def end_with_parent() -> None:
    """Stop, by SIGTERM, when the command that started this one with :func:`run`, or torchrun, ends, however it ends; on
    Linux."""
    parent, torchrun = os.environ.pop(_PARENT, ""), "TORCHELASTIC_RUN_ID" in os.environ
    if (parent or torchrun) and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)
        if not torchrun and os.getppid() != int(parent):  # it has ended in the meantime
            sys.exit(128 + signal.SIGTERM)


def say(text: str) -> None:
    print(text, flush=True)


def progress(line: str) -> str | None:
    """A short form of a log line, or None where it shows no progress."""
    match = PROGRESS.search(line)
    if not match:
        return None
    phase, step, total, eta, loss = match.groups()
    return f"  {phase} {step}/{total}" + (f"  loss {float(loss):.2f}" if loss else "") + f"  {eta} left"


def run(
    command: list[str],
    log: Path,
    environment: dict[str, str] | None = None,
    name: str = "",
    folder: Path = ROOT,
) -> float:
    """Run a command in a folder, show its progress behind its name, keep its output in ``log``; returns the seconds it
    took."""
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with (
        log.open("w") as kept,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={**os.environ, **(environment or {}), _PARENT: str(os.getpid())},
        ) as process,
    ):
        _RUNNING.add(process)
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            if shown := progress(line):
                say(name + shown)
    _RUNNING.discard(process)
    if process.returncode != 0:
        tail = "".join(log.read_text().splitlines(keepends=True)[-15:])
        raise SystemExit(f"{tail}\n{' '.join(command)} failed with status {process.returncode}; full log: {log}")
    return time.monotonic() - start
