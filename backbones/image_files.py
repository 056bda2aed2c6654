"""Files below a folder, by what their names end in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["files_below"]

#: Of pictures that nothing here opens: a folder that loses them without a word is not the one that was meant.
_UNREAD = (".jp2", ".j2k", ".jpx", ".img", ".vrt", ".hdf", ".h5", ".nc", ".heic", ".heif", ".avif", ".jxl")


def files_below(folder: Path, suffixes: Sequence[str], what: str = "data_root") -> list[Path]:
    """The files of a folder and of all its subfolders, linked ones too, sorted by their paths in it.

    Hidden files and folders are passed over, and what is no picture.

    Args:
        folder: Where to look.
        suffixes: That count, in small letters.
        what: The folder is called in errors.

    Raises:
        FileNotFoundError: There is no such folder, or no such file in it.
        ValueError: It has pictures of formats that nothing here opens, JPEG 2000 for example.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{what} is no folder: {folder}")
    found: list[Path] = []
    unread: list[Path] = []
    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link to a folder above it, or a second one to the same
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                ending = name.lower()
                kind = found if ending.endswith(tuple(suffixes)) else unread if ending.endswith(_UNREAD) else []
                kind.append(Path(here, name))
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        raise ValueError(
            f"{what} has pictures that cannot be read: {unread[0]}{more}. Convert them to one of {', '.join(suffixes)} "
            f"or move them elsewhere"
        )
    if not found:
        raise FileNotFoundError(f"{what} has no images ({', '.join(suffixes)}): {folder}")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
