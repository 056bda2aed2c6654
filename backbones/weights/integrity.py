"""Whether a file is what was written: a SHA-256 beside it, or else the checksums inside of it."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

__all__ = ["beside", "recorded", "sha256", "verify"]


def beside(path: Path) -> Path:
    """Where the SHA-256 of a file lies, as ``sha256sum`` writes and checks it."""
    return path.with_name(path.name + ".sha256")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: object) -> str:  # Python 3.10
    digest = hashlib.sha256()
    for chunk in iter(lambda: file.read(2**20), b""):  # type: ignore[attr-defined]
        digest.update(chunk)
    return digest.hexdigest()


def recorded(path: Path) -> list[str]:
    """What lies beside a file: two digests while one file is being replaced by another, none where nothing does."""
    try:
        lines = beside(path).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.split(maxsplit=1)[0] for line in lines if line.strip()]


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"  # even where it lacks its end


def verify(path: str | os.PathLike[str]) -> None:
    """Raise where a file is damaged.

    With ``FILE.sha256`` beside it, any changed byte is seen. Without, the checksums that torch writes into its files
    are compared, which it never does itself: they cover all tensors. Other files pass.

    Raises:
        ValueError: The file is not what was written; the message names it.
    """
    path = Path(path)
    if digests := recorded(path):
        if sha256(path) not in digests:
            raise ValueError(
                f"{path} is damaged or was replaced: its SHA-256 is not that of {beside(path).name}; fetch it again, "
                f"or delete {beside(path).name} to trust it"
            )
    elif _is_archive(path):
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except (OSError, RuntimeError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"cannot read {path}: the file is truncated or corrupt, fetch it again ({error})"
            ) from error
        if damaged:
            raise ValueError(f"cannot read {path}: {damaged} in it is corrupt (its checksum is wrong), fetch it again")
