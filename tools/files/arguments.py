"""Paths as argparse types: meant from where the user is, ``~`` included, and inputs are there before anything runs.

They are absolute, so that they mean the same wherever a command goes on. A mistake ends it with one line.
"""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from pathlib import Path


def any_path(text: str) -> Path:
    """A file or folder that need not be there."""
    return Path(text).expanduser().absolute()


def output_file(text: str) -> Path:
    """A file to write, over one that may be there."""
    if any_path(text).is_dir():
        raise ArgumentTypeError(f"{text} is a folder, not a file")
    return _writable(text)


def output_folder(text: str) -> Path:
    """A folder to write to, which may be there."""
    if any_path(text).is_file():
        raise ArgumentTypeError(f"{text} is a file, not a folder")
    return _writable(text)


def _writable(text: str) -> Path:
    """Before hours of work, not after; nothing is made yet."""
    path = any_path(text)
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if there != path and not there.is_dir():
        raise ArgumentTypeError(f"{text} cannot be written: {there} is no folder")
    if not os.access(there, os.W_OK):
        raise ArgumentTypeError(f"{text} cannot be written: {there} may not be changed")
    return path


def existing_file(text: str) -> Path:
    """A file to read."""
    if "://" in text:
        raise ArgumentTypeError(f"{text} is a web address: download the file and give its path")
    path = any_path(text)
    if path.is_dir():
        raise ArgumentTypeError(f"{text} is a folder, not a file")
    if not path.is_file():
        raise ArgumentTypeError(f"no such file: {text}")
    return path


def existing_folder(text: str) -> Path:
    """A folder to read from."""
    path = any_path(text)
    if not path.is_dir():
        raise ArgumentTypeError(f"{text} is a file, not a folder" if path.is_file() else f"no such folder: {text}")
    return path
