"""Images without labels: a folder of files, and what a training sees of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import RandomResizedCrop

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
        data_root: The folder; it is searched through all its subfolders. Hidden files are passed over.
        size: Side of the square that an image becomes, in pixels.
        scale: Range of a crop's share of the image's area.
        ratio: Range of a crop's ratio of width to height.
        flip: Probability of a horizontal flip.
        train: False for the middle square of the image, without anything random.

    Attributes:
        paths: Of the files.

    Shape:
        Of an item: ``(3, size, size)``, RGB, uint8.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        ValueError: An argument does not fit, or a file is no image that can be read: every file's header is read once,
            here, before any training starts.

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
    ) -> None:
        given = f"got {size!r}"
        self.size = as_int(size)
        if self.size is None or self.size < 1:
            raise ValueError(f"size must be a positive int, {given}")
        for name, pair, highest in (("scale", scale, 1.0), ("ratio", ratio, float("inf"))):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= highest:
                raise ValueError(f"{name} must be two ascending numbers above 0, scale up to 1, got {tuple(pair)}")
        if as_float(flip) is None or not 0 <= flip <= 1:
            raise ValueError(f"flip must be a probability, got {flip!r}")
        self.scale, self.ratio, self.flip, self.train = list(scale), list(ratio), flip, train
        self.data_root = Path(data_root)
        self.paths = _images_below(self.data_root)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as file:
            image = ImageOps.exif_transpose(file).convert("RGB")
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


def _images_below(folder: Path) -> list[Path]:
    """The images of a folder, sorted; all can be read as far as their headers say."""
    if not folder.is_dir():
        raise FileNotFoundError(f"data_root is no folder: {folder}")
    found = [p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file()]
    found = [p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    if not found:
        raise FileNotFoundError(f"data_root has no images ({', '.join(EXTENSIONS)}): {folder}")
    found.sort(key=lambda path: path.relative_to(folder).as_posix())
    broken = [f"{path} ({why})" for path in found if (why := _fault(path))]
    if broken:
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise ValueError(
            f"{len(broken)} of {len(found)} files in data_root cannot be read as images: {', '.join(broken[:_NAMED])}"
            f"{more}. Mend or remove them"
        )
    return found


def _fault(path: Path) -> str:
    """What is wrong with a file's header; nothing where it is well."""
    try:
        with Image.open(path) as file:
            return "" if min(file.size) > 0 else "it has no pixels"
    except Image.UnidentifiedImageError:
        return "no image"
    except Exception as error:  # damaged files fail anywhere, with any exception
        return str(error) or type(error).__name__
