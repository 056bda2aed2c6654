"""iTPN's pixel form: the published counts and names, parity with a restatement, what is hidden, bad arguments."""

from __future__ import annotations

import official_hivit
import official_itpn
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from backbones import convert_checkpoint, load_checkpoint
from backbones.pretraining import (
    BlockUnits,
    Dct,
    Hog,
    ITPNPretraining,
    Normalise,
    Pixels,
    RandomUnits,
    hidden_pixels,
    mask_from_keep,
)
from backbones.weights.conversion import to_official

ARCH = {"embed_dim": 32, "depths": (1, 2, 2), "num_heads": 2}
FORM = {"e": 32, "depths": (1, 2, 2), "heads": 2, "pyramid": (8, 2), "decoder": (32, 2)}
KEEP = torch.tensor([[9, 2, 14, 5], [0, 1, 7, 15]])


def small(**options):
    given = {"img_size": 64, "pyramid_dim": 8, "decoder_dim": 32, "decoder_depth": 2, "decoder_heads": 4, **options}
    return ITPNPretraining(ARCH, **given)


@pytest.fixture
def model(randomise):
    return randomise(small().double()).eval()


def images(count=2, height=64, width=64, seed=0, dtype=torch.float64):
    return torch.randn(count, 3, height, width, dtype=dtype, generator=torch.Generator().manual_seed(seed))


# -- as published -----------------------------------------------------------------------------------------------------


def test_published_counts_and_names():
    with torch.device("meta"):
        model = ITPNPretraining()
    assert sum(p.numel() for p in model.parameters()) == 108_493_344
    found = to_official(model.state_dict())
    expected = official_hivit.shapes(512, (3, 3, 24), 8, side=14, pyramid=(256, 2), decoder=(512, 8))
    assert len(found) == 501 and {name: tuple(t.shape) for name, t in found.items()} == expected


@pytest.mark.parametrize("decoder_heads", [2, 4])
@torch.no_grad()
def test_an_official_file_gives_the_numbers_of_the_specification(decoder_heads):
    state = official_hivit.official(**FORM)
    converted = convert_checkpoint(state)
    assert not converted.missing and not converted.unexpected
    model = small(decoder_heads=decoder_heads).double().eval()
    model.load_state_dict(converted.state_dict, strict=True)
    x = images()
    found = model(x, keep=KEEP)
    losses = []
    for i, keep in enumerate(KEEP.tolist()):
        loss, prediction, levels = official_itpn.pixels(state, x[i], keep, 2, decoder_heads)
        losses.append(loss)
        torch.testing.assert_close(found.prediction[i], prediction, rtol=1e-9, atol=1e-9)
        for level, expected in zip(found.pyramid, levels, strict=True):
            torch.testing.assert_close(level[i], torch.stack(expected), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.loss, (losses[0] + losses[1]) / 2, rtol=1e-9, atol=1e-9)


def test_official_files_are_read(tmp_path):
    state = official_hivit.official(seed=1, dtype=torch.float32, **FORM)
    torch.save({"model": state, "epoch": 400}, tmp_path / "pretrained.pth")
    model = small()
    report = load_checkpoint(model, tmp_path / "pretrained.pth")
    assert not report.missing and not report.unexpected
    again = to_official(model.state_dict())
    assert set(again) == set(state) and all(torch.equal(again[name], state[name]) for name in state)
    with pytest.raises(ValueError, match=r"pyramid\.blocks\.0\.1"):  # no block is dropped in silence
        load_checkpoint(small(pyramid_depth=1), tmp_path / "pretrained.pth")


def test_start():
    model = small()
    decoder, table = model.decoder, model.stages[2].positions.weight
    assert not decoder.positions.requires_grad and table.requires_grad
    assert torch.equal(decoder.positions[0].unflatten(0, (4, 4)), table)  # here of one width
    y, x = 2, 3
    waves = [10000 ** (-k / 8) for k in range(8)]
    expected = [f(torch.tensor(p * w)) for p in (x, y) for f in (torch.sin, torch.cos) for w in waves]
    torch.testing.assert_close(table[y, x], torch.stack(expected))
    assert not any("bias.table" in name for name, _ in model.named_parameters())
    assert model.mask.unit == 16 and model.mask.ratio == 0.75
    assert {"decoder.mask_token", "stages.2.positions.weight"} <= model.no_weight_decay()


# -- losses by hand ---------------------------------------------------------------------------------------------------


def test_the_loss_of_constant_predictions(model):
    nn.init.zeros_(model.decoder.pred.weight)
    x, hidden = images(), ~torch.zeros(2, 16, dtype=torch.bool).scatter(1, KEEP, True)
    x[0, :, :16, :16] = 0.25  # flat, and hidden
    variance = torch.stack([torch.stack([u.var() for u in official_itpn.units_of(image)]) for image in x])
    squares = (767 / 768 * variance / (variance + 1e-6))[hidden]  # of the targets, whose mean is 0
    assert squares.min() == 0 and squares.max() > 0.998
    for value in (0.0, 0.5):
        nn.init.constant_(model.decoder.pred.bias, value)
        expected = squares.mean() + value**2
        torch.testing.assert_close(model(x, keep=KEEP).loss, expected)
        assert list(model.losses(x, keep=KEEP)) == ["pixels"]
        torch.testing.assert_close(model.losses(x, keep=KEEP)["pixels"], expected)


@pytest.mark.parametrize("target", [Dct(16, modes=4), Hog(16), Pixels(16, normalise=False)])
def test_other_targets(target):
    model = small(target=target)
    found = model(images(dtype=torch.float32), keep=KEEP)
    assert found.prediction.shape == (2, 16, target.channels(3))
    every = (found.prediction - target(images(dtype=torch.float32)).flatten(1, 2)).square().mean(-1)
    hidden = mask_from_keep(KEEP, (2, 4, 4)).flatten(1)
    torch.testing.assert_close(found.loss, every[hidden].mean())


# -- what is hidden ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_hidden_pixels_change_nothing_but_the_target(model):
    x = images()
    hidden = hidden_pixels(mask_from_keep(KEEP, (2, 4, 4)), 16)
    found = model(x, keep=KEEP)
    for value in (0.0, 1e6, torch.nan):
        other = model(torch.where(hidden, value, x), keep=KEEP)
        assert torch.equal(found.prediction, other.prediction)
        assert all(torch.equal(a, b) for a, b in zip(found.pyramid, other.pyramid, strict=True))
    shifted = model(torch.where(hidden, x, x + 1), keep=KEEP)
    assert all((a != b).any() for a, b in zip(found.pyramid, shifted.pyramid, strict=True))


@torch.no_grad()
def test_the_order_of_kept_units_matters_to_nothing(model):
    x, order = images(), torch.tensor([2, 0, 3, 1])
    found, other = model(x, keep=KEEP), model(x, keep=KEEP[:, order])
    torch.testing.assert_close(found.loss, other.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.prediction, other.prediction, rtol=1e-10, atol=1e-10)
    for a, b in zip(found.pyramid, other.pyramid, strict=True):
        torch.testing.assert_close(a[:, order], b, rtol=1e-10, atol=1e-10)
    masked, ascending = model(x, mask=mask_from_keep(KEEP, (2, 4, 4))), model(x, keep=KEEP.sort(1).values)
    assert torch.equal(masked.prediction, ascending.prediction)
    torch.testing.assert_close(masked.loss, found.loss, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("ratio", "seen"), [(0.75, 3), (0.5, 6), (0.9, 1)])
@torch.no_grad()
def test_masks_are_drawn_by_the_stable_order_of_noise(ratio, seen, randomise):
    model = randomise(small(mask=RandomUnits(16, ratio)).double()).eval()
    x = images(height=48)  # 12 units
    torch.manual_seed(5)
    found = model(x)
    torch.manual_seed(5)
    keep = torch.rand(2, 12).argsort(dim=1, stable=True)[:, : int(12 * (1 - ratio))]
    assert [tuple(level.shape[1:4]) for level in found.pyramid] == [(seen, p, p) for p in (4, 2, 1)]
    assert torch.equal(found.prediction, model(x, keep=keep.sort(1).values).prediction)


@pytest.mark.parametrize("kept", [1, 4, 12])
def test_only_kept_units_are_computed(kept, model):
    with FlopCounterMode(display=False) as counter:
        model(images(), keep=torch.arange(kept).expand(2, -1))
    flops = {n.removeprefix("ITPNPretraining."): sum(c.values()) for n, c in counter.get_flop_counts().items()}
    units = 2 * kept
    assert flops["stem"] == 2 * units * 16 * 48 * 8  # 16 cells of 4 x 4 x 3 values to 8 channels
    assert flops["stages.0"] == 2 * units * 16 * 2 * 8 * 24
    assert flops["stages.1"] == 2 * units * 4 * (32 * 16 + 2 * 2 * 16 * 48)
    assert flops["stages.2.merge"] == 2 * units * 64 * 32
    assert flops["stages.2.blocks.0.mlp"] == 2 * units * 2 * 32 * 128
    assert flops["stages.2.blocks.0.attn.qkv"] == 2 * units * 3 * 32 * 32
    assert flops["pyramid"] == kept * flops_of_a_pyramid()


def flops_of_a_pyramid():
    """Of two units, one of each image."""
    block, cells = 2 * 4 * 8 * 8, (16, 4, 1)
    return (
        2
        * 2
        * (
            32 * 8
            + 32 * 32
            + 4 * 8 * 32
            + 4 * 8 * 16
            + 16 * 8 * 8
            + 2 * block * (16 + 4)
            + sum(block * n for n in cells)
        )
    )


@torch.no_grad()
def test_other_sizes(model, randomise):
    for height, width in ((48, 80), (16, 96)):
        found = model(images(height=height, width=width), keep=torch.tensor([[3, 1], [0, 5]]))
        assert found.prediction.shape == (2, height * width // 256, 768) and found.loss.isfinite()
    wide = randomise(small(img_size=(48, 80)).double())
    assert wide.decoder.positions.shape == (1, 15, 32)
    assert wide(images(height=48, width=80)).pyramid[0].shape == (2, 3, 4, 4, 8)


# -- pictures ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_reconstruct(randomise):
    model = randomise(small(data_preprocessor=Normalise([100, 120, 90], [60, 50, 40])).double())
    x = 100 + 50 * images()
    normalised = model.data_preprocessor(x)
    found = model.reconstruct(x, keep=KEEP)
    prediction = model.eval()(x, keep=KEEP).prediction
    model.train()
    mask = mask_from_keep(KEEP, (2, 4, 4))
    torch.testing.assert_close(found[hidden_pixels(~mask, 16).expand_as(x)], x[hidden_pixels(~mask, 16).expand_as(x)])
    values = official_itpn.units_of(normalised[1])[3]  # unit 3 of the second image is hidden
    restored = prediction[1, 3] * (values.var() + 1e-6).sqrt() + values.mean()
    seen = official_itpn.units_of(model.data_preprocessor(found)[1])[3]
    torch.testing.assert_close(seen, restored, rtol=1e-5, atol=1e-5)
    assert model.training
    with pytest.raises(ValueError, match="images cannot be restored from Hog"):
        small(target=Hog(16)).reconstruct(images(dtype=torch.float32))


# -- training ---------------------------------------------------------------------------------------------------------


def test_checkpointed_blocks_have_the_same_gradients(randomise):
    gradients = []
    for checkpointing in (False, True):
        model = randomise(small().double())
        model.set_grad_checkpointing(checkpointing)
        assert model.decoder.grad_checkpointing == model.stages[1].grad_checkpointing == checkpointing
        model(images(), keep=KEEP).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    plain, recomputed = gradients
    assert [name for name, g in plain.items() if g is None] == ["decoder.positions"]
    assert all(torch.equal(plain[n], recomputed[n]) for n in plain if n != "decoder.positions")


def test_bfloat16(randomise):
    model, x = randomise(small()), images(dtype=torch.float32)
    exact = model(x, keep=KEEP)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(x, keep=KEEP)
    assert found.loss.dtype == torch.float32 and found.prediction.dtype == torch.bfloat16
    assert abs(found.loss - exact.loss) < 0.05 * exact.loss
    found.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_training_lowers_the_loss_and_leaves_fixed_positions_alone():
    torch.manual_seed(0)
    model = small(mask=RandomUnits(16, 0.5))
    fixed = model.decoder.positions.clone()
    ramp = torch.linspace(-1, 1, 64)
    x = (
        torch.stack([ramp.expand(3, 64, 64), ramp[:, None].expand(3, 64, 64)])
        * torch.tensor([1.0, 0.5])[:, None, None, None]
    )
    model.schedule(30)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(x).loss
        loss.backward()
        optimizer.step()
        model.after_update()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert torch.equal(model.decoder.positions, fixed)
    assert int(model.steps) == 30 and "steps" not in model.state_dict()


def test_drawn_anew(model):
    meta = small()
    meta.to_empty(device="cpu")
    for p in meta.parameters():
        nn.init.constant_(p, torch.nan)
    meta.init_weights()
    assert all(p.isfinite().all() for p in meta.parameters())
    assert torch.equal(meta.decoder.positions, small().decoder.positions)


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"img_size": 72}, "img_size must be multiples of 16, got 72"),
        ({"mask": RandomUnits(32, 0.6)}, r"mask must have units of 16 px.*RandomUnits\(unit=32"),
        ({"target": Pixels(8)}, "target must be a target of units of 16 px"),
        ({"decoder_dim": 40}, "decoder_dim must be a multiple of 16"),
        ({"decoder_heads": 5}, "decoder_heads must divide decoder_dim, got 32, 2 and 5"),
        ({"decoder_depth": -1}, "decoder_depth an int of at least 0, got 32, -1 and 4"),
        ({"pyramid_depth": -1}, "pyramid_depth must be an int of at least 0, got -1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize("arch", ["huge", {"embed_dim": 32}, {**ARCH, "dims": 3}, 3])
def test_bad_arch(arch):
    with pytest.raises(ValueError, match="arch"):
        ITPNPretraining(arch)


@pytest.mark.parametrize(
    ("shape", "given", "error", "message"),
    [
        ((2, 3, 64, 72), {}, ValueError, "images must be multiples of the unit of 16 px, got 64 x 72 px"),
        ((2, 1, 64, 64), {}, ValueError, r"images must have shape \(B, 3, H, W\)"),
        ((3, 64, 64), {}, ValueError, r"images must have shape \(B, 3, H, W\)"),
        ((1, 3, 16, 16), {}, ValueError, "ratio 0.75 of 1 units"),
        ((2, 3, 64, 64), {"keep": KEEP.clone().fill_(3)}, ValueError, "keep holds unit 3 of image 0 more than once"),
        ((2, 3, 64, 64), {"keep": KEEP + 5}, ValueError, r"keep must hold indices of 0\.\.15, got 5\.\.20"),
        ((2, 3, 64, 64), {"keep": KEEP - 1}, ValueError, r"keep must hold indices of 0\.\.15, got -1"),
        ((2, 3, 64, 64), {"keep": KEEP.int()}, TypeError, "keep must be an int64 tensor"),
        ((2, 3, 64, 64), {"keep": KEEP[:1]}, ValueError, r"keep must have shape \(B, K\) with B = 2"),
        ((2, 3, 64, 64), {"keep": torch.arange(16).expand(2, -1)}, ValueError, "0 < K < 16"),
        ((2, 3, 64, 64), {"mask": torch.ones(2, 4, 4, dtype=torch.bool)}, ValueError, "mask hides all of image 0"),
        ((2, 3, 64, 64), {"mask": torch.zeros(2, 4, 4, dtype=torch.bool)}, ValueError, "mask hides nothing of image 0"),
        ((2, 3, 64, 64), {"mask": torch.ones(2, 4, 4)}, TypeError, "mask must be a bool tensor"),
        (
            (2, 3, 64, 64),
            {"mask": torch.ones(2, 4, 5, dtype=torch.bool)},
            ValueError,
            r"mask must have shape .* in units",
        ),
        ((2, 3, 64, 64), {"mask": torch.arange(32).reshape(2, 4, 4) > 10}, ValueError, "mask hides all of image 1"),
        (
            (2, 3, 64, 64),
            {"mask": torch.arange(32).reshape(2, 4, 4) % 11 > 3},
            ValueError,
            "show as many units of each",
        ),
        ((2, 3, 64, 64), {"keep": KEEP, "mask": torch.ones(2, 4, 4, dtype=torch.bool)}, ValueError, "not both"),
    ],
)
def test_bad_input(shape, given, error, message):
    with pytest.raises(error, match=message):
        small()(torch.zeros(shape), **given)


def test_blocks_as_masks():
    model = small(mask=BlockUnits(16, 0.5))
    assert model(images(dtype=torch.float32)).pyramid[2].shape == (2, 8, 1, 1, 8)
