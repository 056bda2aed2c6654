"""Photographs of the styles and of the splits are others."""

import numpy as np
import pytest
from scenes.photographs import region
from scenes.styles import STYLES, load_photographs


@pytest.mark.parametrize("style", STYLES)
def test_splits_share_no_photograph_region(style):
    photographs = load_photographs(style)
    for photograph in photographs:
        coordinates = np.arange(photograph[..., 0].size).reshape(photograph.shape[:2])
        train, val = (set(region(coordinates, split).ravel()) for split in ("train", "val"))
        assert train and val and not train & val
        assert photograph.dtype == np.uint8 and photograph.shape[2] == 3
    digests = [p.tobytes() for p in photographs]
    assert len(set(digests)) == len(digests), "a photograph occurs twice"


def test_styles_share_no_photograph():
    day, night = ({p.tobytes() for p in load_photographs(style)} for style in ("day", "night"))
    assert not day & night
