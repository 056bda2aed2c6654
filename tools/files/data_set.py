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


def make_data_set(
    out: Path, meta: dict[str, Any], name: str, fill: Callable[[Path], None], *, replace: bool = True
) -> bool:
    """Make a data set with ``fill(folder)`` and record in OUT/meta.json what it is; False where it is there already.

    Args:
        out: The folder.
        meta: The options that it is made with.
        name: Of the kind of data set, for messages.
        fill: Writes it.
        replace: Whether it takes the place of one of the same kind that was made with other options.

    Raises:
        FileExistsError: ``out`` holds something else than such a data set, or one that may not be replaced.
    """
    record = out / "meta.json"
    if _alike(record, meta) and json.loads(record.read_text()) == meta:
        return False
    if out.exists() and any(out.iterdir()) and not _alike(record, meta):
        raise FileExistsError(f"{out} exists and is not the {name} data set; move it away or give another folder")
    if _alike(record, meta) and not replace:
        found = json.loads(record.read_text())
        other = ", ".join(f"{k} {found.get(k)}, not {meta.get(k)}" for k in meta if found.get(k) != meta.get(k))
        raise FileExistsError(f"{out} is a {name} data set with other options ({other}): move it away")
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    fill(part)
    (part / "meta.json").write_text(json.dumps(meta))
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return True
