"""Images as the training read them, and the frames of videos."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

#: What OpenMMLab's loading transform makes of ``{"img_path": ...}``.
Load = Callable[[dict], dict]


class Unreadable(ValueError):
    """A file that is no whole image or video; the message says what is wrong with it."""


def read_image(path: Path, load: Load, channels: int = 3) -> np.ndarray:
    """An image by the config's own loading transform, so that it is what the training saw.

    With the usual one, OpenCV's ``IMREAD_COLOR``: turned as its EXIF orientation says (JPEG, PNG, TIFF), grey and
    palette images as colours, alpha left out, CMYK converted, 16 bits divided by 256.

    Returns:
        ``(H, W, channels)``, blue first with the usual transform.

    Raises:
        Unreadable: It is no image, or not a whole one, or has not as many channels.
    """
    try:
        _check_whole(path)
        image = load({"img_path": str(path), "img_id": 0})["img"]
    except Unreadable:
        raise
    except Exception as error:  # whatever a decoder raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unreadable("no image can be read from it" if path.name in reason else reason) from None
    if image.ndim != 3 or image.shape[2] != channels:
        raise Unreadable(f"{channels} channels are needed, it has the shape {image.shape}")
    return image


def _check_whole(path: Path) -> None:
    """Pillow names a file that ends too early, of which decoders of JPEG make an image that is grey from there on."""
    if path.stat().st_size == 0:
        raise Unreadable("the file is empty")
    with contextlib.suppress(Image.UnidentifiedImageError, Image.DecompressionBombError), Image.open(path) as image:
        image.load()


class Video:
    """The frames of a video, one after the other.

    Raises:
        Unreadable: It cannot be opened; while iterating: it ends before its last frame.
    """

    def __init__(self, path: Path) -> None:
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise Unreadable("no video can be read from it")
        self.rate: float = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self._promised = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def __iter__(self) -> Iterator[np.ndarray]:
        count = 0
        try:
            while (read := self._capture.read())[0]:
                count += 1
                yield read[1]
        finally:
            self._capture.release()
        if count == 0 or count < self._promised:
            raise Unreadable(f"{count} of {self._promised} frames could be read")
