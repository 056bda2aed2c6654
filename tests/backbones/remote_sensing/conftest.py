"""The small RS-vHeat that random official files of ``official_rs_vheat`` are of."""

from __future__ import annotations

import official_rs_vheat
import pytest

from backbones.remote_sensing import ModalitySpec, RSVHeat

PLAIN = (
    ModalitySpec("optical", ("R", "G", "B"), None, mean=0.0, std=1.0),
    ModalitySpec("sar", ("VV",), None, mean=0.0, std=1.0),
)


def _make(*, post: bool = True, modalities: object = PLAIN, **options: object) -> RSVHeat:
    norms = {"norm_placement": "post", "layer_scale": 0.5} if post else {}
    arch = {"dims": official_rs_vheat.DIMS, "depths": official_rs_vheat.DEPTHS, **norms}
    return RSVHeat(arch, **{"modalities": modalities, "img_size": 64, **options}).double().eval()


@pytest.fixture
def make():
    """Its constructor, in float64 and evaluation mode; its modalities are neither checked nor normalised."""
    return _make
