"""Files of a modality's bands as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from backbones.remote_sensing import ModalitySpec

__all__ = ["read_modality"]


def read_modality(path: Path, spec: ModalitySpec, names: Sequence[str] | None = None) -> np.ndarray:
    """The bands of a file, ``(bands, H, W)`` float32; colour pictures are red first.

    Raises:
        ValueError: It cannot be read, or has another number of bands than the spec.
    """
    try:
        bands = _array(path)
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    bands = bands[..., None] if bands.ndim == 2 else bands
    if bands.ndim != 3 or bands.shape[2] != len(names or spec.bands):
        raise ValueError(
            f"{path} must hold the {len(spec.bands)} bands of modality {spec.name!r} ({', '.join(spec.bands)}), got "
            f"{bands.shape} (height, width, bands)"
        )
    if names is not None:
        bands = bands[..., [list(names).index(band) for band in spec.bands]]
    bands = np.ascontiguousarray(np.moveaxis(bands, -1, 0), np.float32)
    try:
        spec.check(torch.from_numpy(bands)[None])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return bands


def _array(path: Path) -> np.ndarray:
    if path.suffix.lower() in (".tif", ".tiff"):
        import tifffile

        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            array, planes = page.asarray(), page.planarconfig == 2
        return np.moveaxis(array, 0, -1) if planes and array.ndim == 3 else array
    if path.suffix.lower() == ".npy":
        return np.load(path, allow_pickle=False)
    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError("no picture that OpenCV knows")
    return array[..., ::-1] if array.ndim == 3 and array.shape[2] == 3 else array
