"""Running the commands of a set-up: output in logs, progress and failures in one line."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Callable, Mapping, Sequence

from environment.failures import explain
from environment.lock import note_command
from environment.project import ROOT, VENV, VENV_PYTHON, WORK, SetupError, clock, say


class Runner:
    """Runs the commands of one set-up: their output goes to logs, the reader sees progress or the one line of an error.

    Commands know nothing of the user's PYTHON* variables, and keep their temporary files on the disk of the project.
    """

    def __init__(self, environ: Mapping[str, str], lock: IO[str]) -> None:
        self.lock = lock
        self.environ = {key: value for key, value in environ.items() if not key.startswith("PYTHON")}
        self.environ.update(
            PATH=f"{VENV / 'bin'}{os.pathsep}{environ.get('PATH', os.defpath)}",
            TMPDIR=str(WORK / "tmp"),
            PIP_DISABLE_PIP_VERSION_CHECK="1",
            PIP_NO_INPUT="1",
            PIP_PROGRESS_BAR="off",
            PIP_USER="0",
        )

    def run(
        self,
        log_name: str,
        command: Sequence[str],
        folder: Path = ROOT,
        extra: Mapping[str, str] | None = None,
        describe: Callable[[str], str] = lambda line: "",
    ) -> None:
        """Append the output to the log; `describe` says in a few words what a line of it means, or nothing."""
        log = WORK / log_name
        with subprocess.Popen(
            command,
            cwd=folder,
            env={**self.environ, **(extra or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[self.lock.fileno()],
            start_new_session=True,
        ) as process:
            try:
                note_command(self.lock, process.pid)
                output = follow(process, log, describe)
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)
                raise
        if process.returncode:
            raise SetupError(f"{explain(output, process.returncode)} Log: {log}")

    def pip(self, log_name: str, *arguments: str) -> None:
        self.run(log_name, [str(VENV_PYTHON), "-m", "pip", *arguments], describe=describe_pip)

    def install(self, log_name: str, *arguments: str, lines: Sequence[str] = ()) -> None:
        """Install the given lines of the lock file, or what the arguments name, and nothing else."""
        wanted = WORK / "tmp" / "requirements.txt"
        wanted.write_text("\n".join(lines))
        self.pip(log_name, "install", "--no-deps", *arguments, *(["-r", str(wanted)] if lines else []))


def follow(process: subprocess.Popen[bytes], log: Path, describe: Callable[[str], str]) -> str:
    """Copy the output to the log while showing progress, and return it."""
    lines: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    output, doing, progress = [], "", Progress()
    with log.open("ab", buffering=0) as file:
        while True:
            with contextlib.suppress(queue.Empty):
                line = lines.get(timeout=1.0)
                if line is None:
                    break
                file.write(line)
                output.append(line.decode(errors="replace"))
                doing = describe(output[-1]) or doing
            progress.show(doing)
    progress.close()
    return "".join(output)


class Progress:
    """One line that is refreshed on a terminal; elsewhere a new line now and then."""

    def __init__(self, seconds_between_lines: float = 15.0) -> None:
        self.started = self.shown = time.monotonic()
        self.seconds_between_lines = seconds_between_lines
        self.terminal = sys.stdout.isatty()

    def show(self, text: str) -> None:
        now = time.monotonic()
        line = f"      {clock(now - self.started)} {text}".rstrip()
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            print("\r\033[K" + line[:width], end="", flush=True)
        elif now - self.shown >= self.seconds_between_lines:
            self.shown = now
            say(line)

    def close(self) -> None:
        if self.terminal:
            print("\r\033[K", end="", flush=True)


def describe_pip(line: str) -> str:
    fetched = re.match(r"\s*(?:Downloading|Using cached) (?:\S*/)?(\S+?)-\d\S* ?(\(.*\))?", line)
    if fetched:
        return f"fetching {fetched[1]} {fetched[2] or ''}"
    return "unpacking what was fetched" if line.startswith("Installing collected packages") else ""
