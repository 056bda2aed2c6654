"""Where things lie in the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Data sets, made here or downloaded.
DATA = ROOT / "data"
#: What runs write, where nothing else is asked for.
RUNS = ROOT / "work_dirs"
