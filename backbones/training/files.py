"""Files that are whole or not there, and checkpoints with their checksum beside them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from backbones.weights.integrity import beside, recorded, sha256, verify

__all__ = ["remove_checkpoint", "remove_parts", "write_checkpoint", "write_whole"]

#: What a file is called until it is complete, before a text of each writer's own.
PART = ".part"
#: What file systems say that flush no folders, some of networks among them.
_NO_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}


def write_whole(path: Path, write: Callable[[Path], object], check: Callable[[Path], object] | None = None) -> None:
    """Write a file under another name, flush and check it, and move it into place: it is there whole or not at all.

    Where several write it at once, the last one's is there.

    Args:
        path: The file.
        write: Writes to the path that it is given.
        check: Raises where what was written is not good.

    Raises:
        Exception: What ``write`` or ``check`` raises; the old file is still there, and nothing else.
    """
    # Each writer has its own. What torch saves depends on the name up to the last dot, which is the same for all.
    part = path.with_name(f"{path.name}{PART}-{secrets.token_hex(4)}")
    try:
        write(part)
        with contextlib.suppress(OSError):  # safetensors' own are for their owner alone
            part.chmod(0o666 & ~_umask())
        _flush(part)
        if check is not None:
            check(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def write_checkpoint(path: Path, write: Callable[[Path], object]) -> None:
    """:func:`write_whole` for a checkpoint: what was written is read again, and its SHA-256 lies beside it.

    While one file replaces another of the same name, both digests lie there, so that either file verifies.
    """

    def check(part: Path) -> None:
        verify(part)
        digest.append(sha256(part))
        _write_digests(path, [*recorded(path), *digest])

    digest: list[str] = []
    write_whole(path, write, check)
    with contextlib.suppress(OSError):  # the file is there, and verifies by both
        _write_digests(path, digest)


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint and its checksum, where they are there."""
    path.unlink(missing_ok=True)
    beside(path).unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what killed writers have left."""
    for pattern in (f"*{PART}", f"*{PART}-*"):
        for part in folder.glob(pattern):
            part.unlink(missing_ok=True)


def _umask() -> int:
    """The permissions that new files do not get. There is no way to ask without setting."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _write_digests(path: Path, digests: list[str]) -> None:
    text = "".join(f"{digest}  {path.name}\n" for digest in dict.fromkeys(digests))
    write_whole(beside(path), lambda part: part.write_text(text))


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    if path.is_dir() and os.name == "nt":  # where folders cannot be opened
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not path.is_dir() or error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(handle)
