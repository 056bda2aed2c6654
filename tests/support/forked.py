"""Commands in processes forked from one that has imported the frameworks, which takes most of a short run's time."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["forked_imports"])


@dataclass(frozen=True)
class Done:
    """What subprocess.run says of a command that has ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Running:
    """A command that runs; ``kill`` sends SIGKILL."""

    process: BaseProcess
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def wait(self, timeout: float = 400) -> Done:
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.kill()
        texts = [(self.log / name).read_text() for name in ("stdout", "stderr")]
        return Done(self.process.exitcode, *texts)


def start(command: list[object], cwd: Path) -> Running:
    """Start ``[sys.executable, script, *arguments]`` in a folder."""
    log = Path(tempfile.mkdtemp(dir=cwd, prefix="."))
    process = _CONTEXT.Process(target=_command, args=([str(c) for c in command[1:]], str(cwd), str(log)))
    process.start()
    return Running(process, log)


def run(command: list[object], cwd: Path) -> Done:
    return start(command, cwd).wait()


def status_of(function: Callable[..., object], *arguments: object) -> int | None:
    """How a process ends that calls a function of a module in this folder."""
    process = _CONTEXT.Process(target=function, args=arguments)
    process.start()
    process.join(400)
    return process.exitcode


def _command(argv: list[str], cwd: str, log: str) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{log}/{name}", os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    sys.argv = argv
    sys.path.insert(0, str(Path(argv[0]).parent))
    runpy.run_path(argv[0], run_name="__main__")
