"""Files below a folder, by what their names end in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["files_below"]


def files_below(folder: Path, suffixes: Sequence[str], what: str = "data_root") -> list[Path]:
    """The files of a folder and of all its subfolders, linked ones too, sorted by their paths in it.

    Hidden files and folders are passed over.

    Args:
        folder: Where to look.
        suffixes: That count, in small letters.
        what: The folder is called in errors.

    Raises:
        FileNotFoundError: There is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{what} is no folder: {folder}")
    found, seen = [], set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link to a folder above it, or a second one to the same
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(here, n) for n in files if n.lower().endswith(tuple(suffixes)) and not n.startswith(".")]
    if not found:
        raise FileNotFoundError(f"{what} has no images ({', '.join(suffixes)}): {folder}")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
