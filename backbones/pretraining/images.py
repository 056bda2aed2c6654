"""Images without labels: a folder of files, and what a training sees of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import RandomResizedCrop

from backbones.image_files import files_below
from spectral_ops.scalars import as_float, as_int

__all__ = ["ImageFolder"]

#: What counts as an image.
EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_NAMED = 5


class ImageFolder(Dataset[Tensor]):
    """The images below a folder, sorted by their paths, each as a random crop or as its middle.

    Crops are drawn from torch's global generator, so that a run of :class:`~backbones.openmmlab.SafeRunner`, which
    seeds it for each sample, sees the same ones when it is resumed.

    Args:
        data_root: The folder; it is searched through all its subfolders, linked ones too. Hidden files are passed over.
        size: Side of the square that an image becomes, in pixels.
        scale: Range of a crop's share of the image's area.
        ratio: Range of a crop's ratio of width to height.
        flip: Probability of a horizontal flip.
        train: False for the middle square of the image, without anything random.
        held_out: Share of the images that ``train=True`` passes over and ``train=False`` takes alone, chosen by their
            paths in the folder, so that an image stays where it is when others come; of few images one at least. 0 for
            all images in both.

    Attributes:
        paths: Of the files.

    Shape:
        Of an item: ``(3, size, size)``, RGB, uint8; of 16 bits of grey the upper 8.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        ValueError: An argument does not fit, or a file is no image that can be read: the header of each of ``paths`` is
            read once, here, before any training starts. A file that is damaged behind it is named when it is met.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (40, 30), "red").save(folder / "a.png")
        >>> ImageFolder(folder, size=16)[0].float().mean((1, 2))
        tensor([255.,   0.,   0.])
    """

    def __init__(
        self,
        data_root: str | os.PathLike[str],
        size: int = 224,
        *,
        scale: Sequence[float] = (0.2, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        train: bool = True,
        held_out: float = 0.0,
    ) -> None:
        self.size = checked_crop(size, scale, ratio)
        if as_float(flip) is None or not 0 <= flip <= 1:
            raise ValueError(f"flip must be a probability, got {flip!r}")
        self.scale, self.ratio, self.flip, self.train = list(scale), list(ratio), flip, train
        self.data_root = Path(data_root)
        self.paths = self._part(files_below(self.data_root, EXTENSIONS), held_out)
        _check_headers(self.paths)

    def _part(self, paths: list[Path], share: float) -> list[Path]:
        """The images that train, or those that are held out."""
        by_name = {path.relative_to(self.data_root).as_posix(): path for path in paths}
        if share and len(paths) < 2:
            _check_headers(paths)
        return [
            by_name[name] for name in held_out_part(list(by_name), share, self.train, f"images in {self.data_root}")
        ]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        image = _read(self.paths[index])
        if self.train:
            top, left, height, width = RandomResizedCrop.get_params(image, self.scale, self.ratio)
        else:
            height = width = min(image.size)
            top, left = (image.height - height) // 2, (image.width - width) // 2
        box = (left, top, left + width, top + height)
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box)
        if self.train and float(torch.rand(())) < self.flip:
            image = ImageOps.mirror(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def checked_crop(size: int, scale: Sequence[float], ratio: Sequence[float]) -> int:
    """The size of a crop, if all that is said of it fits.

    Raises:
        ValueError: It does not.
    """
    side = as_int(size)
    if side is None or side < 1:
        raise ValueError(f"size must be a positive int, got {size!r}")
    for name, pair, highest in (("scale", scale, 1.0), ("ratio", ratio, float("inf"))):
        if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= highest:
            raise ValueError(f"{name} must be two ascending numbers above 0, scale up to 1, got {tuple(pair)}")
    return side


def held_out_part(names: Sequence[str], held_out: float, train: bool, what: str) -> list[str]:
    """The names that train, or those that are held out, as :class:`ImageFolder` splits them.

    Args:
        names: Of images, which alone decide.
        held_out: Share that is held out; 0 for all names in both.
        train: Which part.
        what: They are, for errors.

    Raises:
        ValueError: It is no share, or nothing would be left.
    """
    share = as_float(held_out)
    if share is None or not 0 <= share < 1:
        raise ValueError(f"held_out must be a share in [0, 1), got {held_out!r}")
    if not share:
        return list(names)
    if len(names) < 2:
        raise ValueError(
            f"held_out={share} of {len(names)} {what} leaves none to {'train' if train else 'hold out'}: more images "
            f"are needed"
        )
    places = {name: _place(name) for name in names}
    count = sum(place < share for place in places.values())
    held = set(sorted(places, key=places.__getitem__)[: min(max(count, 1), len(places) - 1)])
    return [name for name in names if (name in held) != train]


def _place(name: str) -> float:
    """A number in [0, 1) that depends on a name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def _read(path: Path) -> Image.Image:
    """An image in RGB, upright."""
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):  # convert() would clip what is above 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode == "P":  # convert() warns of each palette with transparency that goes straight to RGB
                image = image.convert("RGBA")
            return image.convert("RGB")
    except Exception as error:  # damaged files fail anywhere, with any exception
        raise ValueError(f"{path} cannot be read as an image: {error}. Mend or remove it") from error


def _check_headers(paths: Sequence[Path]) -> None:
    """Raise where a file is no image as far as its header says."""
    broken = [f"{path} ({why})" for path in paths if (why := _fault(path))]
    if broken:
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise ValueError(
            f"{len(broken)} of {len(paths)} files in data_root cannot be read as images: {', '.join(broken[:_NAMED])}"
            f"{more}. Mend or remove them"
        )


def _fault(path: Path) -> str:
    """What is wrong with a file's header; nothing where it is well."""
    try:
        with Image.open(path) as file:
            if file.mode in ("I", "F"):
                return "values of 32 bits, of which none is said to be white: save it with 8 or 16 bits"
            return "" if min(file.size) > 0 else "it has no pixels"
    except Image.UnidentifiedImageError:
        return "no image"
    except Exception as error:  # damaged files fail anywhere, with any exception
        return str(error) or type(error).__name__
