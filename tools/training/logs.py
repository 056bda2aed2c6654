"""What a run of mmengine leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def latest(folder: Path, pattern: str) -> Path:
    """The newest file below ``folder`` that matches.

    Raises:
        FileNotFoundError: There is none; the run is incomplete.
    """
    files = sorted(folder.glob(pattern), key=lambda p: p.stat().st_mtime)
    if not files:
        raise FileNotFoundError(f"no {pattern} in {folder}: run tools/demo.py to the end first")
    return files[-1]


def read_records(path: Path) -> list[dict[str, Any]]:
    """mmengine's log records, one JSON object per line."""
    return [json.loads(line) for line in path.read_text().splitlines()]
