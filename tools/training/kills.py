"""Trainings that are killed at random instants, resumed, and compared with one that was not.

A process that has imported the frameworks is forked for each attempt, so that an attempt takes seconds.
"""

from __future__ import annotations

import contextlib
import os
import random
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from files.paths import ROOT

from backbones import read_checkpoint
from training.commands import say

__all__ = ["Scenario", "Tally", "sweep"]


@dataclass
class Scenario:
    """A config, and what else happens to it."""

    name: str
    argv: list[str]
    processes: int = 1
    slow_write: bool = False
    full_disk: bool = False


@dataclass
class Tally:
    """What came of a scenario."""

    kills: int = 0
    in_writes: int = 0
    failed_saves: int = 0
    lost: int = 0
    torn: int = 0
    runs: int = 0
    different: list[str] = field(default_factory=list)


def sweep(scenario: Scenario, folder: Path, kills: int, seed: int = 0) -> Tally:
    """Kill trainings of a scenario until there were so many kills, and as many runs as that takes."""
    rng, tally, whole = random.Random(seed), Tally(), folder / "whole"
    start = time.monotonic()
    if _attempt(scenario, whole, None) != 0:
        raise RuntimeError(f"the unbroken run of {scenario.name} failed: see {whole}.log")
    seconds = time.monotonic() - start
    say(f"{scenario.name}: the unbroken run took {seconds:.0f} s")
    while tally.kills < kills:
        run = folder / f"run{tally.runs}"
        finished, newest = False, -1
        while not finished:
            finished = _kill_once(
                scenario, run, rng.uniform(0.1, 0.7 if scenario.processes == 1 else 1.3) * seconds, tally, rng
            )
            steps = _check(run, tally)
            tally.lost += steps < newest
            newest = steps
        tally.runs += 1
        if not _same(whole, run):
            tally.different.append(run.name)
        say(f"{scenario.name}: {tally.kills} kills, {tally.runs} runs, {tally}")
    return tally


def _kill_once(scenario: Scenario, run: Path, after: float, tally: Tally, rng: random.Random) -> bool:
    """One attempt that goes on where the last was killed; whether it came to its end."""
    limited = scenario.full_disk and rng.random() < 0.5
    deadline = time.monotonic() + after

    def enough() -> bool:
        in_write = scenario.slow_write and any(run.glob("*.part-*")) and rng.random() < 0.1
        tally.in_writes += in_write
        return in_write or time.monotonic() > deadline

    code = _attempt(scenario, run, enough, limited)
    if limited:
        log = run.with_name(f"{run.name}.log").read_text(errors="replace")
        tally.failed_saves += log.count("could not be written:")
    tally.kills += code == -signal.SIGKILL
    if code not in (0, -signal.SIGKILL) and not limited:
        raise RuntimeError(f"an attempt ended with {code}: see {run}.log")
    return code == 0


def _attempt(scenario: Scenario, run: Path, enough: Callable[[], bool] | None, limited: bool = False) -> int:
    """Train in forked processes, and kill them all once it is ``enough``; the status of the first."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    children = [_fork(scenario, run, rank, port, limited) for rank in range(scenario.processes)]
    if enough is not None:
        while not any(map(_has_ended, children)) and not enough():
            time.sleep(0.01)
        time.sleep(0.5 * any(map(_has_ended, children)))  # the others end with it
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return codes[0] if 0 not in codes or set(codes) == {0} else -signal.SIGKILL


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _fork(scenario: Scenario, run: Path, rank: int, port: int, limited: bool) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        log = os.open(f"{run}.log", os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if rank == 0 else os.O_APPEND))
        os.dup2(log, 1)
        os.dup2(log, 2)
        if scenario.processes > 1:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(scenario.processes)}
            os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        if scenario.slow_write:
            _write_slowly()
        if limited:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        sys.argv = ["train.py", *scenario.argv, "--work-dir", str(run), "--resume"]
        if scenario.processes > 1:
            sys.argv[2:2] = ["--launcher", "pytorch"]
        runpy.run_path(str(ROOT / "tools/train.py"), run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _write_slowly() -> None:
    """Files take half a second, in two halves."""
    from mmengine.fileio.backends import LocalBackend

    def put(self: LocalBackend, data: bytes, path: str) -> None:
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            time.sleep(0.5)
            file.write(data[len(data) // 2 :])

    LocalBackend.put = put


def _check(run: Path, tally: Tally) -> int:
    """Read every file of a run; the steps of the newest that is good."""
    newest = -1
    for path in run.glob("*.pth"):
        try:
            read_checkpoint(path)
        except ValueError:
            tally.torn += 1
        else:
            newest = max(newest, int(path.stem.rpartition("_")[2]))
    return newest


def _same(whole: Path, run: Path) -> bool:
    """Whether the weights at the end are the same to the bit."""
    ends = [read_checkpoint((f / "last_checkpoint").read_text())["state_dict"] for f in (whole, run)]
    return ends[0].keys() == ends[1].keys() and all(value.equal(ends[1][name]) for name, value in ends[0].items())
