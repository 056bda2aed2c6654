"""Images of several modalities with a class each, from folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import CenterCrop, Compose, RandomHorizontalFlip, RandomResizedCrop, Resize

from backbones.remote_sensing.modalities import ModalitySpec
from backbones.remote_sensing.pairs import paired_files
from backbones.remote_sensing.reading import read_pair

__all__ = ["ModalityFolder"]


class ModalityFolder(Dataset[tuple[Tensor, int]]):
    """The images of ``FOLDER/MODALITY/CLASS``, those of one name together, packed, in the units of the modalities.

    Args:
        folder: With a folder for each modality, in which there is one for each class.
        modalities: Specs, or dicts of their arguments, in the order of the network.
        bands: By modality, the names of the bands of the files, see
            :func:`~backbones.remote_sensing.read_modality`.

    Attributes:
        class_to_idx: The number of each class, in the order of their names.
        transform: What is done with a packed image ``(C, H, W)``, float32; None for nothing.

    Raises:
        FileNotFoundError: A folder is missing or empty, or a file has no partner.
        ValueError: A file is in no folder of a class; in use, as :func:`~backbones.remote_sensing.read_pair`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for modality, shape in (("optical", (40, 50, 3)), ("radar", (40, 50))):
        ...     (root / modality / "farm").mkdir(parents=True)
        ...     image = Image.fromarray(np.random.randint(0, 255, shape, np.uint8))
        ...     image.save(root / modality / "farm" / "1.png")
        >>> optical = ModalitySpec("optical", ("R", "G", "B"), "uint8", mean=100.0, std=50.0)
        >>> radar = ModalitySpec("radar", ("VV",), "uint8", mean=100.0, std=50.0)
        >>> data = ModalityFolder(root, (optical, radar))
        >>> data[0][0].shape, data[0][1], data.class_to_idx
        (torch.Size([4, 40, 50]), 0, {'farm': 0})
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        modalities: Sequence[ModalitySpec | Mapping[str, Any]],
        bands: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.modalities = tuple(ModalitySpec.of(given) for given in modalities)
        self.bands = bands
        found = paired_files(folder, [spec.name for spec in self.modalities])
        if lost := [name for name in found if "/" not in name]:
            files = next(iter(found[lost[0]].values()))
            raise ValueError(f"{files} is in no folder of a class, which {Path(folder)}/MODALITY must have")
        classes = sorted({name.split("/")[0] for name in found})
        self.class_to_idx = {name: i for i, name in enumerate(classes)}
        self.samples = [(files, self.class_to_idx[name.split("/")[0]]) for name, files in found.items()]
        self.transform: Any = None

    def prepare(
        self, size: int, *, scale: tuple[float, float] | None = None, hflip: float = 0.0, crop: float = 1.0
    ) -> None:
        """Set ``transform``: all bands of an image are cropped and resized alike, bilinearly.

        Args:
            size: Side of the square that comes out.
            scale: Shares of the image that random crops cover, for training; None for what is measured, the square in
                the middle.
            hflip: Probability of mirroring.
            crop: Share of the shorter side that the square in the middle covers.
        """
        if scale is not None:
            steps = [RandomResizedCrop(size, scale, antialias=True), RandomHorizontalFlip(hflip)]
        else:
            steps = [Resize(round(size / crop), antialias=True), CenterCrop(size)]
        self.transform = Compose(steps)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        files, label = self.samples[index]
        found = read_pair(files, self.modalities, self.bands)
        packed = torch.from_numpy(np.concatenate([found[spec.name] for spec in self.modalities]))
        return packed if self.transform is None else self.transform(packed), label
