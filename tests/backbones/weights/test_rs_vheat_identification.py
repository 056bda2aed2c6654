"""From the tensors of an RS-vHeat to the network they are of."""

from __future__ import annotations

import pytest
import torch
from official_rs_vheat import official_state

import backbones
from backbones.remote_sensing import OPTICAL, SAR, ModalitySpec, RSVHeat
from backbones.weights.identification import describe, families_of

DEM = ModalitySpec("dem", ("height",), None, 300.0, 100.0)
ARCHS = {
    "pre-norm": {"dims": (8, 12, 16, 20), "depths": (1, 1, 2, 1), "mlp_ratio": 2.0},
    "post-norm": {"dims": (8, 12), "depths": (2, 1), "norm_placement": "post", "layer_scale": 0.1},
}


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"fusion": "concat", "num_classes": 3}, {"operator": "wave"}], ids=str)
@pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS)
def test_network_like(arch, options, randomise):
    net = randomise(RSVHeat(arch, modalities=[SAR, DEM, OPTICAL], img_size=(64, 96), **options)).eval()
    state = net.state_dict()
    again = backbones.network_like(state).eval()
    again.load_state_dict(state)
    assert again.modalities == (SAR, DEM, OPTICAL) and again.fusion == net.fusion
    images = {"dem": torch.full((1, 1, 64, 64), 310.0), "sar": -10 - torch.rand(1, 1, 64, 64)}
    assert torch.equal(again(images), net(images))


def test_descriptions():
    with torch.device("meta"):
        state = RSVHeat("tiny").state_dict()
    assert describe(state) == "a rs_vheat_tiny" and families_of(state) == ["rs_vheat"]
    wave = RSVHeat(ARCHS["post-norm"], operator="wave").state_dict()
    assert describe(wave).startswith("a guided vwave of widths (8, 12)")


def test_official_files_do_not_tell_modalities():
    state = backbones.convert_checkpoint(official_state()).state_dict
    assert describe(state).startswith("a rs_vheat of widths (8, 12, 16, 20)")
    with pytest.raises(ValueError, match="do not tell bands, units and statistics"):
        backbones.network_like(state)
