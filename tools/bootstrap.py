"""Set up the project's own environment, or do nothing when it is current.

`.venv` gets exactly what requirements.lock names, mmcv compiled here, and this checkout; then all of it is checked.
`.setup` holds logs, temporary files and the compiled mmcv, which outlives `.venv`. The Makefile starts this file with
whatever `python3` is, so it and the modules in `environment` use the standard library and the syntax of Python 3.8.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from typing import Any, Mapping, NoReturn

from environment.commands import Runner
from environment.compiled_mmcv import install_mmcv
from environment.lock import only_one_setup
from environment.machine import check_disk, check_interpreter, choose_interpreter, find_compiler, probe
from environment.project import MMCV, ROOT, TOOLS, VENV, VENV_PYTHON, WORK, SetupError, clock, locked, say
from environment.state import can_update, empty_venv, is_current, made_from, no_longer_locked, refuse_link, write_stamp

BUILD_TOOLS = ("ninja", "pip", "setuptools", "wheel")
SOURCE_ONLY = ("onedl-mmdetection", "onedl-mmsegmentation")
FRESH_GB, UPDATE_GB = 9, 2


def set_up(environ: Mapping[str, str]) -> None:
    requested = environ.get("PYTHON", "")
    if is_current(requested):
        return
    refuse_link()
    with only_one_setup() as lock:
        if is_current(requested):
            return
        update = can_update(requested)
        python = (probe(str(VENV_PYTHON)) if update else None) or choose_interpreter(requested)
        check_interpreter(python)
        compiler = find_compiler(environ)
        origin = made_from(python.minor)
        remove_leftovers()
        if not update:
            empty_venv(origin)
        check_disk(UPDATE_GB if update else FRESH_GB)
        started = time.monotonic()
        say(f"Setting up {VENV} with Python {python.version} (logs: {WORK})")
        runner = Runner({**environ, "CXX": compiler}, lock)
        install_packages(runner, None if update else python.path, origin)
        install_mmcv(runner, origin)
        install_project(runner)
        write_stamp("complete", origin)
        say(f"The environment is ready, after {clock(time.monotonic() - started)} minutes.")


def remove_leftovers() -> None:
    """Logs of the set-up before, and the temporary files of an interrupted one."""
    shutil.rmtree(WORK / "tmp", ignore_errors=True)
    (WORK / "tmp").mkdir(exist_ok=True)
    for log in WORK.glob("*.log"):
        log.unlink()


def install_packages(runner: Runner, base: str | None, origin: Mapping[str, Any]) -> None:
    """Bring `.venv`, made from the interpreter `base` unless it exists, to what the lock file says, except mmcv."""
    lines = locked()
    tools = [lines.pop(name) for name in BUILD_TOOLS]
    torch = [lines.pop(name) for name in list(lines) if is_of_torch(name)]
    lines.pop(MMCV)
    gone = no_longer_locked()
    write_stamp("changing", origin)
    say("[1/5] virtual environment and build tools (about 15 seconds)")
    if base:
        runner.run("1-tools.log", [base, "-I", "-m", "venv", str(VENV)])
    runner.install("1-tools.log", "--only-binary=:all:", lines=tools)
    if gone:
        runner.pip("1-tools.log", "uninstall", "--yes", *gone)
    say("[2/5] torch and its libraries (about 5 GB on disk, 1-3 minutes)")
    runner.install("2-torch.log", "--only-binary=:all:", lines=torch)
    say("[3/5] all other packages (about 1 GB on disk, 1-2 minutes)")
    source_only = f"--no-binary={','.join(SOURCE_ONLY)}"
    options = ["--only-binary=:all:", source_only, "--no-build-isolation"]
    runner.install("3-packages.log", *options, lines=list(lines.values()))
    write_stamp("usable", origin)


def is_of_torch(name: str) -> bool:
    return name.startswith(("nvidia-", "cuda-")) or name in ("torch", "torchvision", "triton")


def install_project(runner: Runner) -> None:
    say("[5/5] this project, and a check of everything (about 30 seconds)")
    runner.install("5-project.log", "--no-build-isolation", "--editable", str(ROOT))
    runner.run("5-project.log", [str(VENV_PYTHON), "-m", "environment.check"], folder=TOOLS)
    shutil.rmtree(WORK / "tmp", ignore_errors=True)


def main() -> int:
    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    try:
        set_up(os.environ)
    except SetupError as error:
        say(f"error: {error}")
        return 1
    except OSError as error:
        say(f"error: the set-up cannot go on: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nThe set-up was interrupted: run the command again to continue.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
