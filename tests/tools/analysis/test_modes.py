"""Modes that operators leave nothing of are counted."""

import pytest
import timm
import torch
from analysis.modes import small_modes
from torch import nn

import backbones
from backbones.deployment import Site
from spectral_ops import Heat, Identity, Precomputed, SpectralMixer


class _OneMixer(nn.Module):
    """A mixer on the grid of an image."""

    def __init__(self, operator, channels=2):
        super().__init__()
        self.mixer = SpectralMixer(channels, operator)

    def sites(self, image):
        yield Site(self.mixer, image, {})


def _stored(gain):
    operator = Precomputed(Heat(0.1, dims=(1, 2)))
    operator.store(gain.shape[:2], gain)
    operator.source = None
    return _OneMixer(operator)


def test_a_mode_is_small_where_it_is_in_every_channel():
    gain = torch.zeros(6, 5, 2)
    gain[0, 0], gain[2, 0, 1], gain[1, 3, 0] = 1.0, 0.5, -0.05
    tenth, hundredth = small_modes(_stored(gain), (6, 5), [0.1, 0.01])
    assert (tenth.layer, tenth.sizes, tenth.tolerance) == ("mixer", (6, 5), 0.1)
    assert tenth.share == pytest.approx(28 / 30) and tenth.kept == (3, 1)
    # Along W to one mode, 1 x 6 x 5, and then along H to three, 3 x 6 x 1.
    assert tenth.products == pytest.approx((30 + 18) / (6 * 6 * 5 + 6 * 5 * 5))
    assert hundredth.share == pytest.approx(27 / 30) and hundredth.kept == (3, 4)  # a negative gain counts by its size


def test_the_modes_of_a_known_gain():
    found = small_modes(_OneMixer(Heat(1.0, dims=(1, 2))), (8, 8), [1e-3])[0]  # exp(-pi^2 (n^2 + m^2) / 64) < 1e-3
    large = sum(n**2 + m**2 <= 64 * 6.907755 / torch.pi**2 for n in range(8) for m in range(8))
    assert found.share == pytest.approx(1 - large / 64) and found.kept == (7, 7)


def test_nothing_and_all():
    (whole,) = small_modes(_OneMixer(Identity(dims=(1, 2))), (4, 6), [0.9])
    assert (whole.share, whole.kept, whole.products) == (0.0, (4, 6), 1.0)
    (none,) = small_modes(_stored(torch.zeros(4, 6)), (4, 6), [0.1])
    assert (none.share, none.kept, none.products) == (1.0, (0, 0), 0.0)


def test_stored_gains_and_physics_say_the_same():
    net = timm.create_model("vheat_nano", num_classes=2, dims=(4,) * 4, depths=(1, 1, 2, 1)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))
    found = small_modes(net, (64, 96))
    places = ((0, 0), (1, 0), (2, 0), (2, 1), (3, 0))
    assert [row.layer for row in found[::3]] == [f"stages.{i}.blocks.{j}.mixer" for i, j in places]
    assert [row.sizes for row in found[::3]] == [(16, 24), (8, 12), (4, 6), (4, 6), (2, 3)]
    assert any(0 < row.share < 1 for row in found)
    net.reparameterize([(64, 96)])
    assert small_modes(net, (64, 96)) == found
    net.reparameterize([(64, 96)], keep_source=False)
    assert small_modes(net, (64, 96)) == found


def test_gains_that_depend_on_the_input_have_none():
    assert "vtail" in backbones.FAMILIES
    with pytest.raises(ValueError, match="depends on the input: it has no modes that are always small"):
        small_modes(timm.create_model("vtail_nano"), 64)
