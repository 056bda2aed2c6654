"""What is hidden of images in the cosine domain."""

import math

import pytest
import torch

from backbones.pretraining import FrequencyHiding, Views, random_sectors
from backbones.remote_sensing import frequency_bands
from spectral_ops import dctn, idctn

SIZE = (32, 48)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_one_band_is_seen_and_the_other_scored():
    views = FrequencyHiding("bands", share=(0.2, 0.3), clean=0.0)(200, SIZE, generator=seeded())
    assert torch.equal(views.scored, ~views.kept.any(1)) and not views.whole.any() and views.pixels is None
    assert (views.encoded.sum(1) == 1).all() and 70 < views.encoded[:, 0].sum() < 130
    assert torch.equal(views.encoded, views.kept.flatten(2).any(2))
    lower = torch.where(views.encoded[:, 0, None, None], views.kept[:, 0], views.scored)
    shares = lower.float().mean((1, 2))
    assert lower[:, 0, 0].all() and shares.min() > 0.19 and shares.max() < 0.31 and shares.std() > 0.02


def test_the_bands_are_those_of_frequency_bands():
    views = FrequencyHiding("nothing", share=(0.25, 0.25), clean=0.0, score="all")(2, SIZE, generator=seeded())
    x = torch.randn(2, 3, *SIZE, dtype=torch.float64, generator=seeded(1))
    spectrum = dctn(x, dims=(-2, -1))
    for band, kept in zip(frequency_bands(x, [0.25], rule="area"), views.kept.transpose(0, 1), strict=True):
        torch.testing.assert_close(idctn(spectrum * kept[:, None], dims=(-2, -1)), band)
    assert views.encoded.all() and views.scored.all()
    both = FrequencyHiding("nothing", clean=0.0, constant="both", score="all")(3, SIZE)
    assert both.kept[:, :, 0, 0].all() and (both.kept.sum(1) - 1).sum() == 3


def test_the_constant_mode_of_an_upper_band_that_is_seen_alone():
    views = FrequencyHiding("bands", clean=0.0, constant="both")(40, SIZE, generator=seeded())
    plain = FrequencyHiding("bands", clean=0.0)(40, SIZE, generator=seeded())
    upper = views.encoded[:, 1]
    assert 0 < upper.sum() < 40 and torch.equal(views.kept[:, :, 0, 0], views.encoded)
    assert not views.scored[:, 0, 0].any() and torch.equal(plain.scored[:, 0, 0], upper)
    assert torch.equal(views.kept.flatten(2)[..., 1:], plain.kept.flatten(2)[..., 1:])


def test_sectors_hide_a_share_of_both_bands():
    views = FrequencyHiding("sectors", clean=0.0)(40, SIZE, generator=seeded())
    hidden = ~views.kept.any(1)
    assert torch.equal(views.scored, hidden) and views.encoded.all() and not hidden[:, 0, 0].any()
    shares = hidden.float().mean((1, 2))
    assert shares.min() > 0.199 and shares.max() < 0.301
    assert 0.1 < hidden[:, :8, :12].float().mean() < 0.6  # low modes, too
    assert not (views.kept[:, 0] & views.kept[:, 1]).any()


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9, 0.999])
def test_sectors_are_met_exactly(share):
    hidden = random_sectors(SIZE, share, generator=seeded())
    assert hidden.sum() == round(share * math.prod(SIZE)) and not hidden[0, 0]


def test_one_small_sector_is_a_wedge_of_a_ring():
    for seed in range(5):
        hidden = random_sectors((64, 64), 0.002, generator=seeded(seed))
        rows, columns = hidden.nonzero().double().unbind(1)
        angle = torch.atan2(rows, columns).rad2deg()
        radius = torch.hypot(rows, columns) / 64 / 2**0.5
        assert angle.max() - angle.min() <= 45.001 and radius.max() - radius.min() <= 0.3


def test_clean_images_are_whole_and_not_scored():
    views = FrequencyHiding("bands", clean=0.25)(400, SIZE, generator=seeded())
    clean = views.whole
    assert 60 < clean.sum() < 140
    assert views.kept[clean, 0].all() and not views.kept[clean, 1].any() and not views.scored[clean].any()
    assert views.encoded[clean].tolist() == [[True, False]] * int(clean.sum())
    kinds = views.kinds()
    assert (kinds[clean] == torch.tensor([2, -1])).all() and set(kinds[~clean].unique().tolist()) == {-1, 0, 1}
    literal = FrequencyHiding("bands", clean=1.0, score="all")(3, SIZE)
    assert literal.scored.all() and literal.whole.all()


def test_squares_of_pixels():
    hiding = FrequencyHiding("units", unit=16, ratio=0.5, clean=0.5)
    views = hiding(40, SIZE, generator=seeded())
    clean = ~views.pixels.flatten(1).any(1)
    assert hiding.unit == 16 and 8 < clean.sum() < 32 and (views.pixels[~clean].float().mean((1, 2, 3)) == 0.5).all()
    assert views.whole.all() and views.kept[:, 0].all() and torch.equal(views.scored.flatten(1).all(1), ~clean)
    with pytest.raises(ValueError, match="multiples of the unit of 16 px, got 30 x 48"):
        hiding(1, (30, 48))


@pytest.mark.parametrize("hide", ["bands", "sectors", "units", "nothing"])
def test_draws_follow_from_the_generator_alone(hide):
    hiding = FrequencyHiding(hide, score="all" if hide == "nothing" else "hidden")
    before = torch.random.get_rng_state()
    first, again, other = (hiding(8, SIZE, generator=seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    same = [torch.equal(getattr(first, n), getattr(again, n)) for n in ("kept", "encoded", "scored", "whole")]
    assert all(same) and hide in repr(hiding)
    differs = [not torch.equal(getattr(first, n), getattr(other, n)) for n in ("kept", "encoded", "scored", "whole")]
    assert any(differs) or (hide == "units" and not torch.equal(first.pixels, other.pixels))
    part = first.of(torch.tensor([True] * 3 + [False] * 5))
    assert isinstance(part, Views) and len(part.kept) == len(part.whole) == 3


@pytest.mark.parametrize(
    "given, message",
    [
        ({"hide": "half"}, "hide must be one of"),
        ({"constant": "high"}, "constant must be one of"),
        ({"score": "some"}, "score must be 'hidden' or 'all'"),
        ({"hide": "nothing"}, "'all' where nothing is hidden, got 'hidden'"),
        ({"clean": 1.5}, "clean must be a probability"),
        ({"share": (0.3, 0.2)}, "share must be two ascending numbers"),
        ({"share": 0.3}, "share must be two ascending numbers"),
        ({"hide": "units", "ratio": 1.0}, "ratio"),
    ],
)
def test_bad_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        FrequencyHiding(**given)
