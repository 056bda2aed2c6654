"""Folders of data that say what they are, made whole and never over anything else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _alike(record: Path, meta: dict[str, Any]) -> bool:
    """Whether a record is one of the same kind of data set, made with other options."""
    try:
        found = json.loads(record.read_text())
    except (OSError, ValueError):
        return False
    known = isinstance(found, dict) and "version" in found
    return known and (found.keys() <= meta.keys() or meta.keys() <= found.keys())


def make_data_set(out: Path, meta: dict[str, Any], name: str, fill: Callable[[Path], None]) -> bool:
    """Make a data set with ``fill(folder)`` and record in OUT/meta.json what it is; False where it is there already.

    Raises:
        FileExistsError: ``out`` holds something else than such a data set.
    """
    record = out / "meta.json"
    if _alike(record, meta) and json.loads(record.read_text()) == meta:
        return False
    if out.exists() and any(out.iterdir()) and not _alike(record, meta):
        raise FileExistsError(f"{out} exists and is not the {name} data set; move it away or give another folder")
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    fill(part)
    (part / "meta.json").write_text(json.dumps(meta))
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return True
