"""Which state of the repository a figure comes from."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from files.paths import ROOT

__all__ = ["commit"]


@cache
def commit() -> str:
    """The commit, with ``+`` where files have changed since; without git the package's version, if it is installed."""
    try:
        head, changed = (
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        try:
            return version("spectral-operators")
        except PackageNotFoundError:
            return "unknown"
    return head + "+" * bool(changed)
