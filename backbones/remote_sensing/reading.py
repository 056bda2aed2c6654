"""Pictures with bands in files: one reader, which selects bands by name and says what is wrong with a tile."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image, ImageOps

from backbones.remote_sensing.modalities import UNITS, ModalitySpec

__all__ = ["SUFFIXES", "BandFile", "need_tifffile", "read_bands", "read_header", "read_modality", "read_pair"]

#: Of files with bands.
SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".npy")

#: Numbers of TIFF's tags: size of a pixel on the ground, where a pixel is, its system, and what GDAL says of bands.
_PIXEL_SCALE, _TIE_POINT, _GEO_KEYS, _GDAL_METADATA = 33550, 33922, 34735, 42112
#: Keys of GeoTIFF that hold an EPSG code, of a projection and of degrees, and the value that means none.
_PROJECTED, _GEOGRAPHIC, _USER_DEFINED = 3072, 2048, 32767
_DESCRIPTION = re.compile(r'<Item name="DESCRIPTION" sample="(\d{1,5})"[^>]*>([^<]*)</Item>')
_COLOURS = ("R", "G", "B", "A")
#: Where the bits of a channel stand in a PNG file, and whether there are several channels.
_PNG, _PNG_BITS, _PNG_KIND = b"\x89PNG", 24, 25
#: Number of the tag that says how a photograph is turned, and the last of its values that keep rows as rows.
_ORIENTATION, _UPRIGHT = 274, 4


@dataclass(frozen=True)
class BandFile:
    """What the header of a file says.

    Attributes:
        path: Of the file.
        bands: How many there are.
        size: ``(H, W)`` in pixels.
        names: Of the bands, where the file tells them: GDAL's descriptions, or R, G, B, A of colour pictures.
        place: Tie points and size of a pixel of a GeoTIFF, where it tells them.
        epsg: Code of the coordinate system of the place, where it tells it.
        colours: The names are those of colours, which any file of such a format has.
    """

    path: Path
    bands: int
    size: tuple[int, int]
    names: tuple[str, ...] | None = None
    place: tuple[float, ...] | None = None
    colours: bool = False
    epsg: int | None = None


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


def read_header(path: str | os.PathLike[str]) -> BandFile:
    """Bands, size, names and place of a file, without its pixels.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: As :func:`read_bands`.
    """
    return _opened(Path(path), pixels=False)[0]


def read_bands(path: str | os.PathLike[str]) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The bands of a file in its own type and unit, and their names.

    Args:
        path: TIFF or GeoTIFF (its first page, by the package tifffile), PNG or JPEG, or ``.npy`` of ``(C, H, W)`` or
            ``(H, W)``.

    Returns:
        ``(C, H, W)``, and the names of the bands or None where the file does not tell them.

    Raises:
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: A TIFF file, and tifffile is not installed.
        ValueError: It is no picture with bands; a band has no finite number, or one of several (which are no map of
            classes) one number everywhere.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.png"
        >>> Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3)).save(path)
        >>> bands, names = read_bands(path)
        >>> bands.shape, names
        ((3, 2, 4), ('R', 'G', 'B'))
    """
    header, values = _opened(Path(path))
    for i, band in enumerate(values):
        name = _called(header, i)
        finite = band[np.isfinite(band)]
        if not finite.size:
            raise ValueError(f"{path}: {name} holds no finite number")
        if header.bands > 1 and finite.size > 1 and finite.min() == finite.max():
            raise ValueError(f"{path}: {name} is {finite.min()} everywhere")
    return values, header.names


def read_modality(path: str | os.PathLike[str], spec: ModalitySpec, bands: Sequence[str] | None = None) -> np.ndarray:
    """The bands of a modality from a file, selected by name and checked.

    A file's own names are used where it has some, ``bands`` before them. Without any it must have just the bands of
    the modality, in their order; so must colour pictures for a modality that calls none of its bands R, G, B or A.

    Args:
        path: As of :func:`read_bands`.
        spec: Of the modality.
        bands: Names of the bands of the file, in their order: for files that tell none, or others.

    Returns:
        ``(bands of the modality, H, W)``, float32, in the unit of the modality.

    Raises:
        FileNotFoundError, ModuleNotFoundError: As :func:`read_bands`.
        ValueError: The file has not the bands, or values that cannot be of the modality, see
            :meth:`~backbones.remote_sensing.ModalitySpec.check`, or the same one everywhere in a band; the message
            names file, band, unit and range.
    """
    header, values = _opened(Path(path))
    picture = values[_selected(header, spec, bands)].astype(np.float32)
    unit = UNITS.get(spec.unit or "")
    allowed = f"{spec.unit}, {unit.low:g} to {unit.high:g}" if unit else "no unit"
    for name, band in zip(spec.bands, picture, strict=True):
        what = f"{path}: band {name!r} of modality {spec.name!r} ({allowed})"
        finite = band[np.isfinite(band)]
        if not finite.size:
            raise ValueError(f"{what} holds no finite number")
        if finite.size > 1 and finite.min() == finite.max():
            raise ValueError(f"{what} is {finite.min():g} everywhere: leave such a tile out")
    try:
        spec.check(torch.from_numpy(picture)[None])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return picture


def read_pair(
    paths: Mapping[str, str | os.PathLike[str]],
    specs: Sequence[ModalitySpec],
    bands: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, np.ndarray]:
    """The pictures of one place, by modality, as :func:`read_modality` reads them.

    Args:
        paths: Of the files, by modality.
        specs: Of the modalities, at least of those in ``paths``.
        bands: Names of the bands of the files, by modality.

    Raises:
        ValueError: They differ in size or, where their files say it, in place; or as :func:`read_modality`.
    """
    known = {spec.name: spec for spec in specs}
    if unknown := sorted(set(paths) - set(known)):
        raise ValueError(f"modalities must be of {list(known)}, got {unknown}")
    check_pair([read_header(path) for path in paths.values()])
    bands = bands or {}
    return {name: read_modality(path, known[name], bands.get(name)) for name, path in paths.items()}


def check_pair(files: Sequence[BandFile]) -> None:
    """Raise ``ValueError`` unless files have one size and, where they say it, one place, to a pixel."""
    first = files[0]
    for other in files[1:]:
        if other.size != first.size:
            sizes = " and ".join(f"{file.path} is {file.size[0]} x {file.size[1]}" for file in (first, other))
            raise ValueError(f"a pair must have one size, but {sizes}")
        if first.epsg and other.epsg and first.epsg != other.epsg:
            raise ValueError(
                f"a pair must have one coordinate system, but {first.path} has EPSG:{first.epsg} and {other.path} "
                f"EPSG:{other.epsg}"
            )
        if first.place and other.place and (apart := _apart(first, other)) >= 1:
            raise ValueError(
                f"{first.path} and {other.path} say that they are of different places, {apart:.3g} px apart"
            )


def _apart(first: BandFile, other: BandFile) -> float:
    """How far two files of one size are from each other, in pixels, at the corner where it is most.

    Half a pixel is no difference: tie points are those of corners or of centres of pixels.
    """
    corners = [_corners(first), _corners(other)]
    return float((np.abs(corners[0] - corners[1]) / np.abs(first.place[-3:-1])).max())


def _corners(file: BandFile) -> np.ndarray:
    """The upper left and the lower right corner of a file that knows its place, ``(2, 2)`` of x and y."""
    (column, row, _, x, y, _), (width, height, _) = file.place[:6], file.place[-3:]
    left, top = x - column * width, y + row * height
    return np.array([[left, top], [left + file.size[1] * width, top - file.size[0] * height]])


def check_bands(header: BandFile, spec: ModalitySpec, bands: Sequence[str] | None = None) -> None:
    """Raise ``ValueError`` unless a file has the bands of a modality, as :func:`read_modality` does."""
    _selected(header, spec, bands)


def _selected(header: BandFile, spec: ModalitySpec, bands: Sequence[str] | None) -> list[int]:
    """The places of a modality's bands in a file."""
    wanted = f"modality {spec.name!r} has {len(spec.bands)} bands ({', '.join(spec.bands)})"
    if bands is not None and (isinstance(bands, str) or len(bands) != header.bands or len(set(bands)) != len(bands)):
        raise ValueError(f"{header.path} has {header.bands} bands: bands must be as many different names, got {bands}")
    names = header.names if bands is None else tuple(bands)
    if header.colours and bands is None and not set(spec.bands) & set(_COLOURS) and header.bands == len(spec.bands):
        names = None
    if names is None:
        if header.bands != len(spec.bands):
            raise ValueError(
                f"{header.path} has {header.bands} bands and does not name them, and {wanted}: name those of the file "
                f"by bands="
            )
        return list(range(header.bands))
    if missing := [band for band in spec.bands if band not in names]:
        raise ValueError(f"{header.path} has the bands {', '.join(names)} and no {', '.join(missing)}: {wanted}")
    return [names.index(band) for band in spec.bands]


def _called(header: BandFile, i: int) -> str:
    return f"band {i}" if header.names is None else f"band {header.names[i]!r}"


# -- formats ------------------------------------------------------------------------------------------------------


def _opened(path: Path, pixels: bool = True) -> tuple[BandFile, np.ndarray]:
    """Header and bands of a file; bands of no size where pixels are not wanted."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is no file with bands: one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    kind = {".tif": "TIFF", ".tiff": "TIFF", ".npy": ".npy"}.get(path.suffix.lower(), "a picture")
    if kind == "TIFF":
        need_tifffile()
    reader = {"TIFF": _tiff, ".npy": _npy}.get(kind, _picture)
    try:
        header, values = reader(path, pixels)
    except Exception as error:  # damaged files fail anywhere, with any exception
        raise ValueError(f"{path} cannot be read as {kind}: {error}") from error
    if min(header.bands, *header.size) < 1 or (pixels and values.dtype.kind not in "uif"):
        raise ValueError(f"{path} must hold bands of numbers, got {values.dtype} {header.bands, *header.size}")
    return header, values


def _tiff(path: Path, pixels: bool) -> tuple[BandFile, np.ndarray]:
    with need_tifffile().TiffFile(path) as file:
        page = file.pages[0]
        shape = page.shape
        if len(shape) not in (2, 3):
            raise ValueError(f"it must hold (H, W) or bands of it, got {shape}")
        first = len(shape) == 3 and page.planarconfig == 2
        bands = 1 if len(shape) == 2 else shape[0 if first else -1]
        size = shape[1:] if first else shape[:2]
        tags = page.tags
        place = None
        if _PIXEL_SCALE in tags and _TIE_POINT in tags:
            tie, scale = tags[_TIE_POINT].value, tags[_PIXEL_SCALE].value
            if len(tie) >= 6 and len(scale) == 3 and min(scale[:2]) > 0:
                place = (*tie, *scale)
        names = _described(str(tags[_GDAL_METADATA].value), bands) if _GDAL_METADATA in tags else None
        colours = names is None and getattr(page.photometric, "name", "") == "RGB" and bands in (3, 4)
        epsg = _epsg(tags[_GEO_KEYS].value) if place and _GEO_KEYS in tags else None
        header = BandFile(path, bands, size, _COLOURS[:bands] if colours else names, place, colours, epsg)
        if not pixels:
            return header, np.empty(0)
        values = page.asarray()
    if values.ndim == 2:
        values = values[None]
    return header, np.ascontiguousarray(values if first or len(shape) == 2 else np.moveaxis(values, -1, 0))


def _epsg(keys: Sequence[int]) -> int | None:
    """The coordinate system that GeoTIFF's directory of keys names: four numbers to a key, the last its value."""
    entries = zip(*(keys[i::4] for i in range(4)), strict=False)
    found = {key: value for key, elsewhere, _, value in entries if not elsewhere}
    code = found.get(_PROJECTED, found.get(_GEOGRAPHIC, _USER_DEFINED))
    return None if code == _USER_DEFINED else int(code)


def _described(text: str, bands: int) -> tuple[str, ...] | None:
    """GDAL's descriptions of all bands, if they tell them apart."""
    found = {int(number): html.unescape(name).strip() for number, name in _DESCRIPTION.findall(text)}
    names = tuple(found.get(i, "") for i in range(bands))
    return names if all(names) and len(set(names)) == bands else None


def _npy(path: Path, pixels: bool) -> tuple[BandFile, np.ndarray]:
    values = np.load(path, mmap_mode=None if pixels else "r", allow_pickle=False)
    if values.ndim not in (2, 3):
        raise ValueError(f"it must hold (C, H, W) or (H, W), got {values.shape}")
    values = values[None] if values.ndim == 2 else values
    return BandFile(path, len(values), values.shape[1:]), values if pixels else np.empty(0)


def _picture(path: Path, pixels: bool) -> tuple[BandFile, np.ndarray]:
    with path.open("rb") as file:
        head = file.read(_PNG_KIND + 1)
    if head.startswith(_PNG) and head[_PNG_BITS] == 16 and head[_PNG_KIND] != 0:
        raise ValueError("colours of 16 bits would lose 8: save it as TIFF or .npy")
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file) if pixels else file
        mode = {"P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "1": "L"}.get(image.mode, image.mode)
        if image.mode == "P" and "transparency" in image.info:
            mode = "RGBA"
        bands = len(Image.new(mode, (1, 1)).getbands())
        size = image.height, image.width
        if not pixels and file.getexif().get(_ORIENTATION, 1) > _UPRIGHT:
            size = size[::-1]
        colours = mode in ("RGB", "RGBA")
        header = BandFile(path, bands, size, _COLOURS[:bands] if colours else None, None, colours)
        if not pixels:
            return header, np.empty(0)
        values = np.array(image if mode == image.mode else image.convert(mode))
    return header, np.ascontiguousarray(values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0))
