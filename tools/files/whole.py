"""Records that are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backbones.training.files import write_whole


def write_json(path: Path, record: Any) -> None:
    """Write a record as a whole file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda part: part.write_text(json.dumps(record, indent=1) + "\n"))
