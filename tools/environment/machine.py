"""What this machine offers: interpreters, a C++ compiler, disk space."""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
import shutil
import subprocess
import sys
from typing import Mapping, NamedTuple

from environment.project import ROOT, SUPPORTED, SetupError, listed


class Interpreter(NamedTuple):
    path: str
    version: str
    has_headers: bool
    has_venv: bool

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


PROBE = """
import json, os, platform, sys, sysconfig
from importlib.util import find_spec
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
path = getattr(sys, "_base_executable", None) or sys.executable
if path == sys.executable and sys.prefix != sys.base_prefix:  # Python 3.10 does not know where its base is
    base = os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2])
    path = base if os.path.exists(base) else path
print(json.dumps([path, platform.python_version(), os.path.exists(header), find_spec("ensurepip") is not None]))
"""


def probe(command: str) -> Interpreter | None:
    """What `command` is as a Python, looking through a virtual environment at its base; None if it does not run."""
    try:
        answer = subprocess.run([command, "-I", "-c", PROBE], check=True, capture_output=True, timeout=60).stdout
        return Interpreter(*json.loads(answer))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def choose_interpreter(requested: str) -> Interpreter:
    """The interpreter that was asked for or, when none was, the first complete one of a supported version."""
    if requested:
        found = probe(requested)
        if found is None:
            raise SetupError(f"PYTHON={requested} does not run as a Python 3: give the path of a {listed(SUPPORTED)}.")
        if found.minor not in SUPPORTED:
            raise SetupError(f"PYTHON={requested} is Python {found.version}: give the path of a {listed(SUPPORTED)}.")
        return found
    candidates = (probe(name) for name in (sys.executable, *(f"python{minor}" for minor in reversed(SUPPORTED))))
    usable = [found for found in candidates if found and found.minor in SUPPORTED]
    if not usable:
        raise SetupError(
            f"No Python {listed(SUPPORTED)} found (python3 is {platform.python_version()}): install one, "
            "or name it: make PYTHON=/path/to/python3.12"
        )
    return next((found for found in usable if found.has_headers and found.has_venv), usable[0])


def check_interpreter(python: Interpreter) -> None:
    """Complain about parts of Python that some systems package separately."""
    if not python.has_venv:
        raise SetupError(
            f"{python.path} lacks the venv module: install it (Debian, Ubuntu: apt install python{python.minor}-venv)."
        )
    if not python.has_headers:
        raise SetupError(
            f"{python.path} lacks Python.h, which compiling mmcv needs: install it "
            f"(Debian, Ubuntu: apt install python{python.minor}-dev; Fedora: dnf install python{python.minor}-devel)."
        )


def find_compiler(environ: Mapping[str, str]) -> str:
    requested = environ.get("CXX")
    for candidate in [requested] if requested else ["c++", "g++", "clang++"]:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run([*shlex.split(candidate), "--version"], check=True, capture_output=True, timeout=60)
            return candidate
    raise SetupError(
        (f"The C++ compiler CXX={requested} does not run" if requested else "No C++ compiler (c++, g++, clang++) found")
        + ", and mmcv is compiled here: install one "
        "(Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install)."
    )


def check_disk(needed_gb: int) -> None:
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if free_gb < needed_gb:
        raise SetupError(
            f"Too little disk: the set-up needs about {needed_gb} GB and {ROOT} has {free_gb:.1f} GB free: "
            "free some space, or clone to a larger disk."
        )
