"""The pyramid that stands in for mmdet's where mmdet is not installed: the same names and numbers."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.necks import FPN
from plain_fpn import FPN as PlainFPN

WIDTHS = [8, 12, 16]


@pytest.mark.parametrize("options", [{}, {"start_level": 1}, {"norm_cfg": {"type": "BN"}}])
def test_it_is_mmdets(options, randomise):
    theirs = randomise(FPN(WIDTHS, 6, 5, **options)).eval()
    ours = PlainFPN(WIDTHS, 6, 5, **options).eval()
    ours.load_state_dict(theirs.state_dict())
    maps = [torch.randn(2, width, 24 >> i, 32 >> i) for i, width in enumerate(WIDTHS)]
    for mine, other in zip(ours(maps), theirs(maps), strict=True):
        torch.testing.assert_close(mine, other)
