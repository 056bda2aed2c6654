"""Which files are meant by an image, a folder, a pattern or a video, and how what comes of them is called."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from files.arguments import any_path

IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}


class Source(NamedTuple):
    """A file, its path below the folder that all have in common, and the name of its predictions, without suffix."""

    path: Path
    file_name: str
    name: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEOS


def find_sources(given: Sequence[str]) -> list[Source]:
    """The images and videos that are meant, each once, in order of their paths.

    Of folders (at any depth) and patterns, those that have the suffix of one and are not hidden; a file that is named
    is read whatever its suffix is.

    Raises:
        ValueError: There is no such file or folder, or none in it.
    """
    found: set[Path] = set()
    for text in given:
        path = any_path(text)
        if path.is_file():
            found.add(path)
            continue
        if path.is_dir():
            candidates, where = path.rglob("*"), f"in {text} or its folders"
        elif glob.has_magic(text):
            candidates, where = map(Path, glob.glob(str(path), recursive=True)), f"matches {text}"
        else:
            raise ValueError(f"no such image, folder or video: {text}")
        chosen = {file for file in candidates if _meant(file)}
        if not chosen:
            raise ValueError(f"no image or video {where}; suffixes read: {' '.join(sorted(IMAGES | VIDEOS))}")
        found |= chosen
    root = any_path(given[0])
    if len(given) > 1 or not root.is_dir():
        root = Path(os.path.commonpath([file.parent for file in found]))
    files = sorted(found)
    paths = [file.relative_to(root).as_posix() for file in files]
    return [Source(*parts) for parts in zip(files, paths, _names(paths), strict=True)]


def _meant(file: Path) -> bool:
    return not file.name.startswith(".") and file.suffix.lower() in IMAGES | VIDEOS and file.is_file()


def _names(paths: Sequence[str]) -> list[str]:
    """Paths without suffix, with it where two would be the same; videos, which become folders, keep theirs."""
    names = [path if Path(path).suffix.lower() in VIDEOS else str(Path(path).with_suffix("")) for path in paths]
    while doubled := {name for name, count in Counter(map(str.casefold, names)).items() if count > 1}:
        names = [path if name.casefold() in doubled else name for name, path in zip(names, paths, strict=True)]
        if names == list(paths):
            break
    return names
