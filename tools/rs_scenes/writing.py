"""Writing of TIFF files with bands."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backbones.remote_sensing.reading import need_tifffile


def write_bands(path: Path, bands: np.ndarray) -> None:
    """Write (H, W, C) as one TIFF file, compressed without loss."""
    colour = bands.dtype == np.uint8 and bands.shape[-1] == 3
    layout = {"photometric": "rgb" if colour else "minisblack", "planarconfig": "contig"}
    if bands.shape[-1] == 1:
        bands, layout = bands[..., 0], {"photometric": "minisblack"}
    need_tifffile().imwrite(path, bands, compression="zlib", metadata=None, **layout)
