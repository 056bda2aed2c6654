"""Records that are whole or not there, and files of them, a line each, that a killed run adds to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backbones.training.files import write_whole


def write_json(path: Path, record: Any) -> None:
    """Write a record as a whole file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda part: part.write_text(json.dumps(record, indent=1) + "\n"))


def append_line(path: Path, record: Any) -> None:
    """Add a record to a file of JSON lines, on a line of its own where the last one was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        torn = file.seek(0, 2) and (file.seek(-1, 2), file.read(1))[1] != b"\n"
        file.write(b"\n" * bool(torn) + json.dumps(record).encode() + b"\n")


def read_lines(path: Path) -> list[Any]:
    """The records of a file of JSON lines, which need not be there; a line that was cut off is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
