"""TIFF files with bands."""

import numpy as np
import pytest
from rs_scenes.writing import write_bands

from backbones.remote_sensing import read_bands


@pytest.mark.parametrize(
    "bands, dtype", [(1, np.uint8), (2, np.float32), (3, np.uint8), (3, np.float64), (12, np.int16)]
)
def test_written_files_are_read_back(bands, dtype, tmp_path):
    picture = (100 * np.random.default_rng(0).random((5, 7, bands))).astype(dtype)
    write_bands(tmp_path / "a.tif", picture)
    found, _ = read_bands(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.moveaxis(found, 0, -1), picture)
    assert found.dtype == dtype
