"""Where things are, what the lock file says, and how the set-up speaks."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

TOOLS = Path(__file__).resolve().parent.parent
ROOT = TOOLS.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
WORK = ROOT / ".setup"
LOCK_FILE = ROOT / "requirements.lock"

REVISION = 1  # raise it when a change of the set-up makes the environments, or the compiled mmcv, of before wrong
SUPPORTED = ("3.10", "3.11", "3.12")
PACKAGES = ("spectral_ops", "backbones", "adapters")
MMCV = "onedl-mmcv"


class SetupError(Exception):
    """An expected failure; its text is the one line that says what to do."""


def say(text: str) -> None:
    print(text, flush=True)


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1]


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def present_packages() -> list[str]:
    return [name for name in PACKAGES if (ROOT / name / "__init__.py").exists()]


def locked() -> dict[str, str]:
    """Lines of the lock file by the name of the package."""
    lines = (line.split("#")[0].strip() for line in LOCK_FILE.read_text().splitlines())
    return {line.split("==")[0]: line for line in lines if line}


def locked_version(name: str) -> str:
    return locked()[name].split("==")[1].split()[0]
