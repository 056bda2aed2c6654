"""Images of several sensors without labels: a folder for each modality, and what a training sees of a place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as TF

from backbones.pretraining.images import checked_crop, held_out_part
from backbones.remote_sensing import ModalitySpec, paired_files, read_header, read_modality
from backbones.remote_sensing.pairs import Partnerless
from backbones.remote_sensing.reading import BandFile, check_bands, check_pair
from spectral_ops.scalars import as_float

__all__ = ["PairFolder"]

_NAMED = 5


class PairFolder(Dataset[Tensor]):
    """The places of a folder, sorted by name, each as a crop of all its modalities alike, or as their middle.

    ``FOLDER/MODALITY`` has the files of a modality; those of one name, whatever it ends in, are of one place. Draws
    come from torch's global generator, as those of :class:`ImageFolder`.

    Args:
        data_root: The folder.
        modalities: Specs of the modalities, or dicts of their arguments, in the order of a network's.
        size: Side of the square that an image becomes, in pixels.
        scale: Range of a crop's share of the image's area, which is then resized; None for crops of ``size`` px as
            they are, which keep their pixels' size on the ground, and speckle as it is.
        ratio: Range of a crop's ratio of width to height, where it is resized.
        flip: Probability of a flip, left to right and top to bottom each.
        train: False for the middle square, of ``size`` px or resized to that, without anything random.
        held_out: As of :class:`ImageFolder`; places stay together.
        partnerless: ``"error"`` where a place has no file of a modality; ``"keep"``: NaN stands there.
        bands: By modality, the names of the bands of its files, in their order, where the files do not tell them.

    Attributes:
        places: Names of the places.
        files: By name, the paths by modality.

    Shape:
        Of an item: ``(channels of all modalities, size, size)``, float32, in the units of the specs.

    Raises:
        FileNotFoundError: A folder is not there or empty, or a file has no partner.
        ValueError: An argument does not fit, or a file: the headers of all files are read once, here, and say size,
            place and bands. What is wrong with the pixels of a file is said when it is met, see
            :func:`~backbones.remote_sensing.read_modality`.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from PIL import Image
        >>> from backbones.remote_sensing import OPTICAL, SAR
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("optical", "sar"):
        ...     (folder / name).mkdir()
        >>> noise = np.random.default_rng(0)
        >>> Image.fromarray(noise.integers(0, 255, (40, 50, 3), np.uint8)).save(folder / "optical" / "a.png")
        >>> np.save(folder / "sar" / "a.npy", noise.normal(-12, 3, (1, 40, 50)))
        >>> PairFolder(folder, [OPTICAL, SAR], size=32)[0].shape
        torch.Size([4, 32, 32])
    """

    def __init__(
        self,
        data_root: str | os.PathLike[str],
        modalities: Sequence[ModalitySpec | Mapping[str, Any]],
        size: int = 224,
        *,
        scale: Sequence[float] | None = None,
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        train: bool = True,
        held_out: float = 0.0,
        partnerless: Partnerless = "error",
        bands: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.specs = tuple(ModalitySpec.of(given) for given in modalities)
        names = [spec.name for spec in self.specs]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"modalities must be at least one, of different names, got {names}")
        self.size = checked_crop(size, (1.0, 1.0) if scale is None else scale, ratio)
        if as_float(flip) is None or not 0 <= flip <= 1:
            raise ValueError(f"flip must be a probability, got {flip!r}")
        if unknown := sorted(set(bands or {}) - set(names)):
            raise ValueError(f"bands must be of {names}, got {unknown}")
        self.scale, self.ratio, self.flip, self.train = scale and list(scale), list(ratio), flip, train
        self.bands = {name: tuple(each) for name, each in (bands or {}).items()}
        self.data_root = Path(data_root)
        self.files = paired_files(self.data_root, names, partnerless)
        self.places = held_out_part(list(self.files), held_out, train, f"places in {self.data_root}")
        self._check_headers()

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Tensor:
        files = self.files[self.places[index]]
        found = {s.name: self._read(files[s.name], s) for s in self.specs if s.name in files}
        height, width = next(iter(found.values())).shape[1:]
        nothing = torch.full((1, height, width), torch.nan)
        every = [found.get(spec.name, nothing.expand(len(spec.bands), -1, -1)) for spec in self.specs]
        return self._cropped(torch.cat(every))

    def _read(self, path: Path, spec: ModalitySpec) -> Tensor:
        return torch.from_numpy(read_modality(path, spec, self.bands.get(spec.name)))

    def _cropped(self, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        if not self.train:
            side = self.size if self.scale is None else min(height, width)
            box = ((height - side) // 2, (width - side) // 2, side, side)
        elif self.scale is None:
            spare = [torch.randint(n - self.size + 1, ()).item() for n in (height, width)]
            box = (*spare, self.size, self.size)
        else:
            box = RandomResizedCrop.get_params(image, self.scale, self.ratio)
        top, left, rows, columns = box
        image = image[:, top : top + rows, left : left + columns]
        if (rows, columns) != (self.size, self.size):
            image = TF.resize(image, [self.size, self.size], InterpolationMode.BILINEAR, antialias=True)
        if self.train:
            flipped = [dim for dim in (1, 2) if float(torch.rand(())) < self.flip]
            image = image.flip(flipped) if flipped else image
        return image.contiguous()

    def _check_headers(self) -> None:
        """Raise unless the files of all places have the bands, and those of a place one size."""
        faults = [fault for name in self.places if (fault := self._fault(self.files[name]))]
        if faults:
            more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
            raise ValueError(
                f"{len(faults)} of {len(self.places)} places in data_root cannot be used: {'; '.join(faults[:_NAMED])}"
                f"{more}. Mend or remove them"
            )

    def _fault(self, files: Mapping[str, Path]) -> str:
        """What is wrong with a place; nothing where it is well."""
        headers: list[BandFile] = []
        try:
            for spec in self.specs:
                if spec.name in files:
                    headers.append(read_header(files[spec.name]))
                    check_bands(headers[-1], spec, self.bands.get(spec.name))
            check_pair(headers)
        except ValueError as error:
            return str(error)
        smallest = self.size if self.scale is None else 1
        if min(headers[0].size) < smallest:
            height, width = headers[0].size
            return f"{headers[0].path} is {height} x {width} px, smaller than the crops of {smallest} px"
        return ""
