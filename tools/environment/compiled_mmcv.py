"""mmcv with its operators, compiled against the installed torch and kept for later set-ups."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path
from typing import Any, Mapping

from environment.commands import Runner
from environment.project import MMCV, REVISION, TOOLS, VENV_PYTHON, WORK, SetupError, locked, locked_version, say
from environment.state import write_stamp

LOG = "4-mmcv.log"


def install_mmcv(runner: Runner, origin: Mapping[str, Any]) -> None:
    """Take the wheel that an earlier set-up compiled for the same torch and Python, if it works, or compile one."""
    kept = folder_of_wheel(origin["python"])
    if any(kept.glob("*.whl")):
        say("[4/5] mmcv, as compiled by an earlier set-up")
        if works(runner, kept, origin):
            return
    jobs = runner.environ.get("MAX_JOBS") or str(available_cpus())
    say(
        "[4/5] compiling mmcv, because there is no ready-made build for this torch "
        f"(5-7 minutes on two cores; jobs: {jobs}; repeated only for another torch, mmcv or Python)"
    )
    compile_mmcv(runner, jobs, kept)
    install_wheel(runner, kept, origin)


def folder_of_wheel(minor: str) -> Path:
    """Named by everything that the compiled files depend on."""
    versions = f"mmcv-{locked_version(MMCV)}-torch-{locked_version('torch')}-python-{minor}"
    return WORK / f"{versions}-{platform.machine()}-revision-{REVISION}"


def compile_mmcv(runner: Runner, jobs: str, destination: Path) -> None:
    """Build the wheel outside pip's usual isolation, where torch is missing and mmcv silently lacks its operators.

    CUDA_VISIBLE_DEVICES hides a GPU, for which mmcv would ask for CUDA's compiler whatever FORCE_CUDA says.
    """
    building = WORK / "tmp" / "mmcv"
    command = [str(VENV_PYTHON), "-m", "pip", "wheel", "--verbose", "--wheel-dir", str(building)]
    options = ["--no-build-isolation", "--no-deps", "--no-cache-dir", f"--no-binary={MMCV}", locked()[MMCV]]
    flags = {"MMCV_WITH_OPS": "1", "FORCE_CUDA": "0", "CUDA_VISIBLE_DEVICES": "", "CFLAGS": "-g0 -O1", "MAX_JOBS": jobs}
    runner.run(LOG, [*command, *options], extra=flags, describe=describe_compilation)
    os.replace(building, destination)


def works(runner: Runner, folder: Path, origin: Mapping[str, Any]) -> bool:
    try:
        install_wheel(runner, folder, origin)
    except SetupError:
        return False
    return True


def install_wheel(runner: Runner, folder: Path, origin: Mapping[str, Any]) -> None:
    """Install it and call its operators; a wheel that fails is not kept."""
    try:
        write_stamp("changing", origin)
        runner.install(LOG, "--no-index", "--force-reinstall", *map(str, folder.glob("*.whl")))
        write_stamp("usable", origin)
        runner.run(LOG, [str(VENV_PYTHON), "-m", "environment.check", "mmcv"], folder=TOOLS)
    except SetupError:
        shutil.rmtree(folder)
        raise


def available_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_compilation(line: str) -> str:
    done = re.search(r"\[(\d+)/(\d+)\]", line)
    if done:
        return f"{done[1]} of {done[2]} files compiled"
    return "preparing" if "Preparing metadata" in line else ""
