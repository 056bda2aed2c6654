"""Image files: there, whole, of a kind that loading does not change, and of the size that their annotations say."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from checks.findings import Findings
from checks.view import Picture, View

Image.MAX_IMAGE_PIXELS = 1 << 30  # what OpenCV reads, which loads the images of the frameworks

#: What files of these formats end with, and how far from the end it may be.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 1024
_MODES = {"CMYK": "image-cmyk", "YCCK": "image-cmyk", "P": "image-palette", "PA": "image-palette"}
_DEEP = ("I", "F")
_ORIENTATION, _SIDEWAYS = 274, (5, 6, 7, 8)


class Header(NamedTuple):
    """What an image file says of itself: what is wrong with it, why, and its size as it will be loaded."""

    kinds: tuple[str, ...]
    reason: str = ""
    size: tuple[int, int] | None = None


def read_header(path: Path, turned: bool = True, thorough: bool = False) -> Header:
    """Look at an image file; its pixels are decoded only if ``thorough``, or where its end looks cut off."""
    if not path.is_file():
        return Header(("image-missing",))
    try:
        with Image.open(path) as image:
            kinds = [_MODES[image.mode]] if image.mode in _MODES else []
            if image.mode.startswith(_DEEP):
                kinds.append("image-16-bit")
            has_exif = image.format != "PNG" or "exif" in image.info  # asking a PNG file decodes it
            orientation = image.getexif().get(_ORIENTATION, 1) if has_exif else 1
            size = image.size
            if turned and orientation != 1:
                kinds.append("image-rotated")
                size = size[::-1] if orientation in _SIDEWAYS else size
            if thorough or not _has_end(path, image.format or ""):
                try:
                    image.load()
                except (OSError, SyntaxError, ValueError) as error:
                    return Header((*kinds, "image-truncated"), str(error), size)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "empty file" if path.stat().st_size == 0 else type(error).__name__
        return Header(("image-unreadable",), reason)
    return Header(tuple(kinds), "", size)


def _has_end(path: Path, kind: str) -> bool:
    end = _ENDS.get(kind)
    if end is None:
        return True
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return end in file.read()


def check_images(
    view: View, pictures: list[Picture], findings: Findings, executor: Executor, thorough: bool = False
) -> Iterator[Header]:
    """Look at all images of a split, several at a time; yields their headers in order."""
    if not pictures:
        findings.add("images-none", view.split, view.name)

    def read(picture: Picture) -> Header:
        return read_header(picture.path, view.turns_images, thorough)

    for picture, header in zip(pictures, executor.map(read, pictures), strict=True):
        for kind in header.kinds:
            findings.add(kind, view.split, f"{picture.path}{f' ({header.reason})' if header.reason else ''}")
        if header.size and picture.size and header.size != picture.size:
            said, found = (f"{width} x {height}" for width, height in (picture.size, header.size))
            findings.add("size-differs", view.split, f"{picture.label}: {said} annotated, {found} loaded")
        yield header
