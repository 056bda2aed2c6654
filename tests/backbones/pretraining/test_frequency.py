"""Pre-training in the cosine domain: what the network sees, what counts, and that it learns."""

from __future__ import annotations

import pytest
import timm
import torch

from backbones.pretraining import FrequencyHiding, FrequencyPretraining, TeacherCollapse, publish
from backbones.remote_sensing import ModalitySpec, RSVHeat, specs_in
from backbones.weights.loading import read_weights
from backbones.weights.reading import read_metadata
from spectral_ops import dctn, idctn

OPTICAL = ModalitySpec("optical", ("R", "G", "B"), "uint8", mean=120.0, std=60.0)
SAR = ModalitySpec("sar", ("VV", "VH"), "dB", mean=(-11.0, -17.0), std=5.0, clip=(-30.0, 5.0))
ARCH = {"dims": (8, 12, 16, 20), "depths": (1, 1, 2, 1), "init_std": None}
SIZE = (64, 96)


@pytest.fixture
def make(randomise):
    """A model in float64 with random parameters of order one."""

    def made(hiding=None, *, network=None, **options):
        torch.manual_seed(0)
        net = RSVHeat(ARCH, modalities=(OPTICAL, SAR), img_size=64, **(network or {}))
        return randomise(FrequencyPretraining(net, hiding, **options)).double()

    return made


def pairs(count=4, size=SIZE, seed=0):
    """Smooth places of both modalities, correlated, in their units."""
    draw = torch.Generator().manual_seed(seed)
    fall = 1 / (1 + torch.arange(size[0])[:, None] + torch.arange(size[1])).double()
    place = idctn(40 * fall * torch.randn(count, 3, *size, dtype=torch.float64, generator=draw), dims=(-2, -1))
    noise = torch.randn(count, 2, *size, dtype=torch.float64, generator=draw)
    sar = -14 + 4 * place[:, :2] + 0.3 * noise
    return {"optical": (120 + 50 * place).clamp(0, 255), "sar": sar.clamp(-30, 5)}


def edges(count, seed):
    """Places of two halves, whose low and high frequencies tell of each other."""
    draw = torch.Generator().manual_seed(seed)
    turn, shift, level = torch.rand(3, count, 1, 1, generator=draw)
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    side = rows * (6.3 * turn).sin() + columns * (6.3 * turn).cos() + 0.4 * (shift - 0.5) > 0
    place = torch.where(side, 0.3 + 0.7 * level, -0.3 - 0.7 * level)[:, None]
    return {"optical": (120 + 100 * place).expand(-1, 3, -1, -1), "sar": (-12 + 8 * place).expand(-1, 2, -1, -1)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def seen_by(model, images, views):
    """What goes into the stems, by modality."""
    found = {}
    for name, stem in model.backbone.stem.items():
        original = stem.embedded

        def embedded(x, visible=None, name=name, original=original):
            found[name] = x if visible is None else torch.where(visible, x, 0.0)
            return original(x, visible)

        stem.embedded = embedded
    model.losses(images, views=views)
    for stem in model.backbone.stem.values():
        del stem.embedded
    return found


# -- what the network sees --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hide", ["bands", "sectors"])
def test_hidden_modes_change_nothing_of_what_is_seen(hide, make):
    model, images = make(FrequencyHiding(hide, clean=0.0)), pairs()
    views = model.mask(4, SIZE, generator=seeded())
    before = seen_by(model, images, views)
    spectrum = torch.randn(4, 3, *SIZE, dtype=torch.float64, generator=seeded(1)) * views.scored[:, None]
    changed = {**images, "optical": images["optical"] + 0.1 * idctn(spectrum, dims=(-2, -1))}
    after = seen_by(model, changed, views)
    torch.testing.assert_close(after["optical"], before["optical"], atol=1e-12, rtol=0)
    assert torch.equal(after["sar"], before["sar"])
    assert not torch.equal(model.losses(images, views=views)["spatial"], model.losses(changed, views=views)["spatial"])
    # And nothing of the hidden modes is in it.
    for view, scored in zip(before["optical"], views.scored[views.encoded.nonzero()[:, 0]], strict=True):
        assert (dctn(view, dims=(-2, -1)) * scored).abs().max() < 1e-12


def test_hidden_pixels_change_nothing_of_what_is_seen(make):
    model, images = make(FrequencyHiding("units", clean=0.0)), pairs()
    views = model.mask(4, SIZE, generator=seeded())
    first = model.reconstruct(images, views=views)
    noisy = images["sar"] - views.pixels * torch.rand(images["sar"].shape, generator=seeded(1))
    second = model.reconstruct({**images, "sar": noisy}, views=views)
    assert torch.equal(first["sar"]["predicted"], second["sar"]["predicted"])
    assert torch.equal(first["sar"]["seen"], second["sar"]["seen"])


def test_bands_sum_to_the_normalised_image(make):
    images = pairs()
    for constant in ("low", "both"):
        model = make(FrequencyHiding("nothing", clean=0.0, constant=constant, score="all"))
        views = model.mask(4, SIZE, generator=seeded())
        low, high = seen_by(model, images, views)["sar"].unflatten(0, (4, 2)).unbind(1)
        whole = SAR.normalised(images["sar"])
        extra = whole.mean((2, 3), keepdim=True) if constant == "both" else 0.0
        torch.testing.assert_close(low + high, whole + extra)
        assert high.min() < -0.1 and (constant == "both" or high.mean((2, 3)).abs().max() < 1e-12)


def test_a_clean_view_is_the_image_itself(make):
    model, images = make(FrequencyHiding(clean=1.0)), pairs()
    found = seen_by(model, images, model.mask(4, SIZE))
    assert torch.equal(found["optical"], OPTICAL.normalised(images["optical"]))
    losses = model.losses(images, views=model.mask(4, SIZE))
    assert losses["spatial"] == losses["spectral"] == 0 and losses["contrast"] > 0


# -- what counts ------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_parts(make):
    weights = {"contrast": 0.5, "spatial": 2.0, "spectral": 3.0}
    model, images = make(FrequencyHiding("bands", clean=0.3), weights=weights).eval(), pairs(6)
    views = model.mask(6, SIZE, generator=seeded(3))
    assert 0 < views.whole.sum() < 6
    losses = model.losses(images, views=views)
    parts = model.reconstruct(images, views=views)
    from backbones.pretraining import scored_error, spectral_weight

    errors = []
    for part in parts.values():
        scored = views.scored.flatten(1).any(1)
        each = scored_error(part["predicted"], part["image"], views.scored, None, spectral_weight(SIZE))
        errors.append([loss[scored].mean() for loss in each])
    for name, mine in zip(("spatial", "spectral"), zip(*errors, strict=True), strict=True):
        torch.testing.assert_close(losses[name], weights[name] * sum(mine) / 2)
    plain = make(FrequencyHiding("bands", clean=0.3), weights={"contrast": 0.0}).eval()
    assert list(plain.losses(images, views=views)) == ["spatial", "spectral"]
    torch.testing.assert_close(plain(images), torch.stack(list(plain.losses(images).values())).sum(), rtol=1, atol=10)


def test_a_low_pass_leaves_out_what_cannot_be_predicted(make):
    hiding = FrequencyHiding("nothing", clean=0.0, score="all")
    model, images = make(hiding, lowpass={"sar": 0.3}, weights={"contrast": 0.0}), pairs()
    images["sar"] = images["sar"].clamp(-25, 0)
    high = torch.zeros(SIZE, dtype=torch.float64)
    high[-1, -1] = 3.0
    with torch.no_grad():
        model.heads["sar"].pixels.weight.zero_()  # predictions that do not depend on the image
    views = model.mask(4, SIZE, generator=seeded())
    first = model.losses(images, views=views)
    noisy = {**images, "sar": images["sar"] + idctn(high, dims=(-2, -1))}  # not clipped
    for name, loss in model.losses(noisy, views=views).items():
        torch.testing.assert_close(loss, first[name])
    model.lowpass = {}
    assert model.losses(noisy, views=views)["spectral"] > first["spectral"]


def test_images_without_partner(make):
    model, images = make(FrequencyHiding("bands", clean=0.2)).eval(), pairs(5)
    views = model.mask(5, SIZE, generator=seeded())
    lonely = {name: x.clone() for name, x in images.items()}
    lonely["sar"][:2] = torch.nan
    found = model.losses(lonely, views=views)
    both = torch.tensor([False, False, True, True, True])
    paired = model.losses({name: x[both] for name, x in images.items()}, views=views.of(both))
    torch.testing.assert_close(found["contrast"], paired["contrast"])
    everything = model.reconstruct(lonely, views=views)
    assert everything["sar"]["restored"][:2].isnan().all() and everything["sar"]["restored"][2:].isfinite().all()
    one = model.losses({"sar": images["sar"]}, views=views)  # the other modality is in no image of the batch
    assert one["contrast"] == 0 and one["spatial"] > 0 and set(model.measures) == {"spread"}
    torch.testing.assert_close(
        sum(model.losses({name: images[name]}, views=views)["spatial"] for name in images) / 2,
        model.losses(images, views=views)["spatial"],
    )
    loss = model(lonely)
    loss.backward()
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_all_that_is_trained_has_a_gradient(make):
    for hide in ("bands", "units"):
        model = make(FrequencyHiding(hide, clean=0.0)).train()
        model(pairs(8)).backward()
        idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
        # What a classifier has; of squares the tokens of the second view are seen, and its weight at the first is not.
        assert all(name.startswith("backbone.norm.") for name in idle), idle


def test_autocast_keeps_spectra_in_float32(make):
    model = make(FrequencyHiding("bands", clean=0.0)).float()
    images = {name: x.float() for name, x in pairs().items()}
    views = model.mask(4, SIZE, generator=seeded())
    plain = model.losses(images, views=views)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.losses(images, views=views)
        seen = seen_by(model, images, views)["optical"]
    assert seen.dtype == torch.float32 and all(loss.dtype == torch.float32 for loss in half.values())
    assert (dctn(seen, dims=(-2, -1)) * views.scored[views.encoded.nonzero()[:, 0]][:, None]).abs().max() < 1e-4
    for name, loss in half.items():
        torch.testing.assert_close(loss, plain[name], rtol=0.05, atol=0.02)


# -- training ---------------------------------------------------------------------------------------------------------


def test_a_short_training_lowers_the_held_out_losses():
    torch.manual_seed(0)
    net = RSVHeat({**ARCH, "dims": (16, 24, 32, 48)}, modalities=(OPTICAL, SAR), img_size=32)
    model = FrequencyPretraining(net, FrequencyHiding(share=(0.02, 0.1)), weights={"contrast": 0.3})
    images = [edges(32, seed) for seed in range(5)]
    model.schedule(120)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)

    def held_out():
        model.eval()
        with torch.no_grad():
            losses = model.losses(images[-1], views=model.mask(32, (32, 32), generator=seeded(9)))
        model.train()
        return {name: float(loss) for name, loss in losses.items()}

    before = held_out()
    for step in range(120):
        optimizer.zero_grad()
        model(images[step % 4]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.after_update()
    after = held_out()
    assert after["contrast"] < 0.5 * before["contrast"] and after["spatial"] < 0.9 * before["spatial"]
    assert after["spectral"] < 0.98 * before["spectral"]
    assert int(model.steps) == 120 and model.spread > 0.3 * model.highest_spread


def test_collapse_is_said(make):
    model = make(alarm=0.5).train()
    model.losses(pairs())
    model.after_update()
    assert float(model.spread) == float(model.highest_spread) > 0
    with torch.no_grad():
        for parameter in model.norms.parameters():
            parameter.zero_()
        model.norms["3"].bias.fill_(1.0)  # the same features of all images
    with pytest.raises(TeacherCollapse, match=r"network has collapsed after \d+ updates: .* over images .*infonce"):
        for _ in range(12):
            model.losses(pairs())
            model.after_update()
    early = make(alarm=0.5).train()
    early.schedule(100)
    early.highest_spread.fill_(1e9)
    early.losses(pairs())
    early.after_update()  # the first of 100
    early.steps.fill_(29)
    with pytest.raises(TeacherCollapse, match="after 30 updates"):
        early.after_update()
    for options in ({"alarm": 0.0}, {"weights": {"contrast": 0.0}}):  # the second trains no pairs
        quiet = make(**options).train()
        quiet.highest_spread.fill_(1e9)
        quiet.losses(pairs())
        quiet.after_update()


def test_whole_images_are_measured_without_drawing(make):
    model = make().eval()
    packed = model.packed(pairs(8))
    before = torch.random.get_rng_state()
    found = model.measured_whole(packed)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert 0 <= found["retrieval"] <= 1 and found["spread"] > 0


# -- published --------------------------------------------------------------------------------------------------------


def test_the_published_file_is_the_network(make, tmp_path):
    model = make(FrequencyHiding("sectors"), network={"num_classes": 3}).float().eval()
    metadata = publish(model, tmp_path / "a.safetensors", source="noise")
    assert read_metadata(tmp_path / "a.safetensors") == metadata
    assert "sectors" in metadata["hiding"] and '"VH"' in metadata["modalities"] and metadata["family"] == "rs_vheat"
    state = read_weights(tmp_path / "a.safetensors")[0]
    assert specs_in(state) == (OPTICAL, SAR) and not any("fusion" in name or "heads" in name for name in state)
    net = timm.create_model(
        "rs_vheat_nano", pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "a.safetensors")},
        arch=ARCH, modalities=(OPTICAL, SAR), img_size=64, num_classes=5,
    ).eval()  # fmt: skip
    images = {name: x.float() for name, x in pairs(2).items()}
    ours, theirs = (each.forward_stages(images) for each in (model.backbone, net))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_networks_that_concatenate(make):
    model = make(network={"fusion": "concat"}).eval()
    assert [level.channels for level in model.levels] == [16, 20]
    assert model(pairs()).isfinite()


# -- bad input --------------------------------------------------------------------------------------------------------


def test_bad_images(make):
    model, images = make(), pairs()
    with pytest.raises(
        ValueError, match=r"band 'R' of modality 'optical' .* range of uint8, 0 to 255; are these counts"
    ):
        model.losses({**images, "optical": images["optical"] * 40})
    with pytest.raises(ValueError, match=r"band 'VV' of modality 'sar' .* is this linear power"):
        model.losses({**images, "sar": 10 ** (images["sar"] / 10)})
    partly = {**images, "sar": images["sar"].clone()}
    partly["sar"][1, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"band 'VV' of modality 'sar' .* all must be finite"):
        model.losses(partly)
    with pytest.raises(ValueError, match="at least one image of a modality, all are NaN"):
        model.losses({name: torch.full_like(x, torch.nan) for name, x in images.items()})
    with pytest.raises(ValueError, match="packed images must have shape"):
        model.losses(images["sar"])
    with pytest.raises(ValueError, match=r"views must be Views of \(4, 64, 96\), got \(2, 64, 96\)"):
        model.losses(images, views=model.mask(2, SIZE))
    with pytest.raises(ValueError, match="pairs of the same size"):
        model.losses({**images, "sar": images["sar"][:2]})


def test_bad_arguments(make):
    with pytest.raises(
        TypeError, match=r"backbone must be an RSVHeat, got VHeat|backbone must be an RSVHeat, got Spec"
    ):
        FrequencyPretraining(timm.create_model("vheat_nano"))
    power = ModalitySpec("sar", ("VV",), "power", mean=0.1, std=0.1)
    with pytest.raises(ValueError, match=r"modality 'sar' is in linear power, .*: pre-train it in dB"):
        FrequencyPretraining(RSVHeat(ARCH, modalities=(power,)))
    for given, message in (
        ({"weights": {"spatial": -1.0}}, "the weight of 'spatial' must be"),
        ({"weights": dict.fromkeys(("contrast", "spatial", "spectral"), 0)}, "at least one loss"),
        ({"lowpass": {"radar": 0.3}}, r"lowpass must give radii .* some of \['optical', 'sar'\], got 'radar'"),
        ({"rho0": 0.0}, "rho0 above it"),
        ({"alarm": 1.0}, r"alarm must be in \[0, 1\)"),
        ({"contrast": "l2"}, "contrast must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**given)
    with pytest.raises(KeyError, match="weights must be of"):
        make(weights={"pixels": 1.0})
