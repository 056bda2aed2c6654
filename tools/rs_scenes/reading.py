"""Reading and writing of TIFF files with bands, and of pairs of them: the same name in a folder for each modality."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np

#: Numbers of GeoTIFF's tags: size of a pixel on the ground, and where a pixel is.
PIXEL_SCALE, TIE_POINT = 33550, 33922


def need_tifffile() -> ModuleType:
    """The package tifffile.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        import tifffile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("TIFF files with bands need a package: pip install tifffile") from error
    return tifffile


def write_bands(path: Path, bands: np.ndarray) -> None:
    """Write (H, W, C) as one TIFF file, compressed without loss."""
    colour = bands.dtype == np.uint8 and bands.shape[-1] == 3
    layout = {"photometric": "rgb" if colour else "minisblack", "planarconfig": "contig"}
    if bands.shape[-1] == 1:
        bands, layout = bands[..., 0], {"photometric": "minisblack"}
    need_tifffile().imwrite(path, bands, compression="zlib", metadata=None, **layout)


def read_bands(path: Path) -> np.ndarray:
    """The bands of a TIFF file, (H, W, C), in the file's own type and unit; one band is (H, W, 1).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no TIFF picture with bands, a band holds no finite number, or one of several (which are no
            map of classes) holds one number everywhere.
    """
    tifffile = need_tifffile()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            bands, planes = page.asarray(), page.planarconfig == 2
    except (tifffile.TiffFileError, IndexError, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as TIFF: {error}") from error
    if bands.ndim == 2:
        bands = bands[..., None]
    elif bands.ndim != 3:
        raise ValueError(f"{path} must hold (H, W) or bands of it, got {bands.shape}")
    elif planes:
        bands = np.moveaxis(bands, 0, -1)
    for number, band in enumerate(np.moveaxis(bands, -1, 0)):
        finite = band[np.isfinite(band)]
        if not finite.size:
            raise ValueError(f"{path}: band {number} holds no finite number")
        if bands.shape[-1] > 1 and finite.size > 1 and finite.min() == finite.max():
            raise ValueError(f"{path}: band {number} is {finite.min()} everywhere")
    return bands


def read_place(path: Path) -> tuple[float, ...] | None:
    """The tie point and the pixel's size of a GeoTIFF, or None where the file does not say."""
    with need_tifffile().TiffFile(path) as file:
        tags = file.pages[0].tags
        if PIXEL_SCALE not in tags or TIE_POINT not in tags:
            return None
        return (*tags[TIE_POINT].value, *tags[PIXEL_SCALE].value)


def names_of_pairs(folder: Path, modalities: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the TIFF files of FOLDER/MODALITY, which each modality must have.

    Raises:
        FileNotFoundError: A folder is not there or empty, or a file has no partner.
    """
    found = {}
    for modality in modalities:
        place = folder / modality
        if not place.is_dir():
            raise FileNotFoundError(f"{place} is not there")
        found[modality] = {file.name for file in place.iterdir() if file.suffix.lower() in (".tif", ".tiff")}
        if not found[modality]:
            raise FileNotFoundError(f"{place} holds no .tif file")
    every = sorted(set().union(*found.values()))
    for name in every:
        if missing := [modality for modality in modalities if name not in found[modality]]:
            raise FileNotFoundError(f"{name} has no partner in {folder / missing[0]}")
    return tuple(every)


def read_pair(folder: Path, modalities: tuple[str, ...], name: str) -> dict[str, np.ndarray]:
    """The pictures of one place, by modality, (H, W, C) each.

    Raises:
        ValueError: They differ in size or, where their files say it, in place.
    """
    files = {modality: folder / modality / name for modality in modalities}
    pictures = {modality: read_bands(file) for modality, file in files.items()}
    first = modalities[0]
    for modality in modalities[1:]:
        if pictures[modality].shape[:2] != pictures[first].shape[:2]:
            sizes = " and ".join(f"{files[m]} is {pictures[m].shape[:2]}" for m in (first, modality))
            raise ValueError(f"a pair must have one size, but {sizes}")
        places = [read_place(files[m]) for m in (first, modality)]
        if None not in places and not np.allclose(*places, atol=1e-3):
            raise ValueError(f"{files[first]} and {files[modality]} say that they are of different places")
    return pictures
