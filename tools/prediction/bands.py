"""Images with more bands than colours: how many a model wants, and a picture of them to draw on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backbones.remote_sensing import ModalitySpec

#: Of the values of a band, the shares between which a picture goes from black to white.
_SHOWN = (2, 98)


class Bands:
    """The bands of packed images, of which a picture is made: the colours, or the first band as grey.

    Args:
        specs: Of the modalities, in their order.
    """

    def __init__(self, specs: Sequence[ModalitySpec]) -> None:
        self.specs = tuple(specs)
        self.count = sum(len(spec.bands) for spec in self.specs)
        names = [(spec.unit, band) for spec in self.specs for band in spec.bands]
        colours = [names.index(("uint8", band)) for band in "BGR" if ("uint8", band) in names]
        self._colours = colours if len(colours) == 3 else None

    @classmethod
    def of(cls, step: dict[str, Any]) -> Bands | None:
        """Of what a loading step loads; None of the frameworks' own, which load pictures."""
        if step["type"].rpartition(".")[2] != "LoadModalities":
            return None
        return cls([ModalitySpec.of(given) for given in step["modalities"]])

    def picture(self, image: np.ndarray) -> np.ndarray:
        """``(H, W, 3)`` bytes, blue first, of a packed image ``(H, W, bands)``."""
        if self._colours is not None:
            return image[..., self._colours].clip(0, 255).astype(np.uint8)
        low, high = np.percentile(image[..., 0], _SHOWN)
        grey = ((image[..., :1] - low) / max(high - low, 1e-6)).clip(0, 1)
        return np.repeat((255 * grey).astype(np.uint8), 3, axis=-1)
