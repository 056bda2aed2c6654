"""The model: what is hidden is seen nowhere, losses by hand, and what training does to it."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from backbones import HiViT
from backbones.pretraining import (
    BlockUnits,
    Features,
    MaskedPretraining,
    Normalise,
    PretrainingHead,
    RandomUnits,
    hidden_pixels,
    kept_units,
)

BOTH = {"pixels": 1.0, "features": 1.0}


def images(count=2, height=96, width=64, seed=0):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def mask_of(x, unit=16, ratio=0.6, seed=0):
    return RandomUnits(unit, ratio)(len(x), x.shape[2:], generator=torch.Generator().manual_seed(seed))


# -- what is hidden ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_placement", ["pre", "post"])
@pytest.mark.parametrize("name", ["vheat", "vwave", "vtail", "vpoisson", "vmix"])
@torch.no_grad()
def test_hidden_pixels_change_nothing_that_comes_out_of_student_and_neck(name, norm_placement, make_model):
    model = make_model(name, network={"norm_placement": norm_placement, "layer_scale": 0.5})
    x = images()
    mask = mask_of(x)
    hidden = hidden_pixels(mask, 16)
    found = model.maps(x, mask=mask)
    assert len(found) == 5 and all(m.isfinite().all() for m in found)
    for value in (0.0, 1e4, torch.nan):
        other = model.maps(torch.where(hidden, torch.full_like(x, value), x), mask=mask)
        assert all(torch.equal(a, b) for a, b in zip(found, other, strict=True))
    seen = x.clone()
    seen[..., :16, :16] += (~mask)[:, :1, :1, None]  # a unit that is seen does change them
    changed = model.maps(seen, mask=mask)
    assert all(
        any((a[i] != b[i]).any() for a, b in zip(found, changed, strict=True)) for i in range(2) if not mask[i, 0, 0]
    )


@pytest.mark.parametrize("fill", ["token", "grey"])
@torch.no_grad()
def test_so_it_is_with_the_other_fills(fill, make_model):
    model = make_model(fill=fill)
    x = images()
    mask = mask_of(x)
    found = model.maps(x, mask=mask)
    other = model.maps(torch.where(hidden_pixels(mask, 16), torch.nan, x), mask=mask)
    assert all(torch.equal(a, b) for a, b in zip(found, other, strict=True))
    remasked = make_model().maps(x, mask=mask)
    assert not any(torch.allclose(a, b) for a, b in zip(found, remasked, strict=True))


@torch.no_grad()
def test_fills_by_hand(make_model):
    x, mask = images(), mask_of(images())
    hidden = hidden_pixels(mask, 16)
    grey = make_model(fill="grey")
    expected = grey.head.dense(grey.backbone.forward_stages(x * ~hidden), cells_of(hidden))
    expected = grey.neck(expected)
    for a, b in zip(grey.maps(x, mask=mask), expected, strict=True):
        torch.testing.assert_close(a, b)
    model = make_model(fill="token")
    taken = []
    model.backbone.stages[0].register_forward_pre_hook(lambda module, args: taken.append(args[0]))
    model.maps(x, mask=mask)
    first = cells_of(hidden)[0][..., 0]
    assert torch.equal(taken[0][first], model.token.expand(int(first.sum()), -1))
    assert torch.equal(taken[0][~first], model.backbone.stem(x, ~hidden)[~first])


def cells_of(hidden):
    """The cells of which every pixel is hidden, by numpy."""
    found = []
    for stride in (4, 8, 16, 32):
        blocks = hidden[:, 0].numpy().reshape(len(hidden), hidden.shape[2] // stride, stride, -1, stride)
        found.append(torch.from_numpy(blocks.all((2, 4)))[..., None])
    return found


@torch.no_grad()
def test_the_neck_meets_tokens_in_hidden_cells_and_norms_elsewhere(make_model):
    model = make_model()
    x, mask = images(), mask_of(images())
    met = []
    model.neck.register_forward_pre_hook(lambda module, args: met.extend(args[0]))
    model.maps(x, mask=mask)
    hidden = hidden_pixels(mask, 16)
    stages = model.backbone.forward_stages(x, visible=~hidden)
    for i, (m, stage, cells) in enumerate(zip(met, stages, cells_of(hidden), strict=True)):
        assert m.is_contiguous()
        m, cells = m.permute(0, 2, 3, 1), cells[..., 0]
        assert torch.equal(m[cells], model.head.tokens[str(i)].expand(int(cells.sum()), -1))
        torch.testing.assert_close(m[~cells], F.layer_norm(stage, stage.shape[-1:], eps=1e-5)[~cells])
    whole = model.maps(x)
    dense = [F.layer_norm(m, m.shape[-1:], eps=1e-5) for m in model.backbone.forward_stages(x)]
    for a, b in zip(whole, model.neck([m.permute(0, 3, 1, 2) for m in dense]), strict=True):
        torch.testing.assert_close(a, b)


# -- losses by hand ---------------------------------------------------------------------------------------------------


def normalised_units(image):
    """(h, w, 768) of an image (3, H, W), by numpy."""
    image = image.numpy().transpose(1, 2, 0).astype(np.float64)
    h, w = image.shape[0] // 16, image.shape[1] // 16
    found = np.empty((h, w, 768))
    for i in range(h):
        for j in range(w):
            unit = image[16 * i : 16 * i + 16, 16 * j : 16 * j + 16].reshape(-1)
            found[i, j] = (unit - unit.mean()) / np.sqrt(max(unit.var(ddof=1), 4e-3) + 1e-6)
    return found


@torch.no_grad()
def test_the_loss_of_pixels_by_hand(make_model):
    model = make_model()
    x, mask = images(), mask_of(images())
    maps = model.maps(x, mask=mask)[:4]
    at_16 = [
        F.avg_pool2d(maps[0], 4),
        F.avg_pool2d(maps[1], 2),
        maps[2],
        F.interpolate(maps[3], scale_factor=2, mode="bilinear"),
    ]
    linear = model.head.units["pixels"]
    predicted = (sum(at_16).permute(0, 2, 3, 1) @ linear.weight.T + linear.bias).double().numpy()
    squared = [(predicted[i] - normalised_units(x[i])) ** 2 for i in range(2)]
    expected = np.mean([squared[i][mask[i].numpy()] for i in range(2)])
    found = model.losses(x, mask=mask)
    assert list(found) == ["pixels"]
    np.testing.assert_allclose(float(found["pixels"]), expected, rtol=1e-5)
    np.testing.assert_allclose(float(model(x, mask=mask)), expected, rtol=1e-5)
    np.testing.assert_allclose(float(model(x, keep=kept_units(mask).flip(1))), expected, rtol=1e-5)


@torch.no_grad()
def test_the_loss_of_features_by_hand(make_model):
    model = make_model(target_generator={"features": 0.5}).eval()
    x, mask = images(), mask_of(images(), seed=3)
    predicted = [head(m) for head, m in zip(model.head.features.values(), model.maps(x, mask=mask), strict=False)]
    losses = []
    for p, target, cells in zip(
        predicted, model.backbone.forward_stages(x), cells_of(hidden_pixels(mask, 16)), strict=True
    ):
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True, correction=0) + 1e-6).sqrt()
        error = (p.permute(0, 2, 3, 1) - target).square().mean(-1, keepdim=True)
        losses.append(error[cells].mean() if cells.any() else torch.zeros(()))
    assert losses[-1] > 0  # some cell of stride 32 is hidden whole
    found = model.losses(x, mask=mask)
    torch.testing.assert_close(found["features"], 0.5 * torch.stack(losses).mean())


@torch.no_grad()
def test_added_targets_are_the_single_ones(make_model):
    x, mask = images(), mask_of(images())
    every = [
        {"type": "pixels", "weight": 2.0},
        {"type": "dct", "modes": 4},
        {"type": "hog", "unit": 8, "cell": 8, "weight": 0.1},
        {"type": "features"},
    ]
    model = make_model(target_generator=every).eval()
    found = model.losses(x, mask=mask)
    assert list(found) == ["pixels", "dct", "hog", "features"]
    torch.testing.assert_close(model(x, mask=mask), sum(found.values()))
    assert {n: p.shape[1:] for n, p in model._predicted(x, mask).items() if n != "features"} == {
        "pixels": (6, 4, 768), "dct": (6, 4, 48), "hog": (12, 8, 27),
    }  # fmt: skip
    linear = model.head.units["hog"]
    maps = model.maps(x, mask=mask)[:4]
    at_8 = [F.avg_pool2d(maps[0], 2), maps[1]]
    at_8 += [F.interpolate(m, size=(12, 8), mode="bilinear") for m in maps[2:]]
    predicted = linear(sum(at_8).permute(0, 2, 3, 1))
    target = model.target_generator.units["hog"](x)
    cells = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(found["hog"], 0.1 * (predicted - target)[cells].square().mean())


@torch.no_grad()
def test_seen_units_do_not_count(make_model):
    model = make_model()
    x, mask = images(), mask_of(images())
    before = model.losses(x, mask=mask)["pixels"]
    flat = model.target_generator.units["pixels"](x)
    model.target_generator.units["pixels"].forward = lambda _: torch.where(mask[..., None], flat, torch.nan)
    torch.testing.assert_close(model.losses(x, mask=mask)["pixels"], before)


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_reconstructions(make_model):
    x = 127.5 + 40 * images()
    mask = mask_of(x)
    hidden = hidden_pixels(mask, 16).expand_as(x)
    for targets in ({"pixels": 1.0}, {"hog": 1.0, "dct": 1.0}):
        model = make_model(target_generator=targets, data_preprocessor=Normalise([127.5] * 3, [127.5] * 3))
        found = model.reconstruct(x, mask=mask)
        assert model.training and not found.requires_grad
        torch.testing.assert_close(found[~hidden], x[~hidden])
        assert (found[hidden] - x[hidden]).abs().mean() > 1
    # A head that predicts the target restores the images.
    model = make_model(data_preprocessor=Normalise([127.5] * 3, [127.5] * 3))
    target = model.target_generator.units["pixels"](model.data_preprocessor(x))
    model.head.forward = lambda maps, size: {"pixels": target}
    torch.testing.assert_close(model.reconstruct(x, mask=mask), x)
    with pytest.raises(ValueError, match=r"images cannot be restored from \['hog'\]: pixels or dct can"):
        make_model(target_generator={"hog": 1.0}).reconstruct(x)


# -- training ---------------------------------------------------------------------------------------------------------


def gradients(model):
    return [None if p.grad is None else p.grad.clone() for p in model.parameters()]


def test_every_parameter_learns(make_model):
    model = make_model(target_generator={**BOTH, "dct": 1.0}, head=PretrainingHead(decoder_depth=1), fill="token")
    model.schedule(10)
    model.steps.fill_(5)
    model.target_generator.features.spread_at_start.fill_(0.1)
    model(images(4), mask=mask_of(images(4), ratio=0.8)).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == ["backbone.norm.weight", "backbone.norm.bias"], silent


@pytest.mark.parametrize("checkpointing", [False, True])
def test_two_masks_before_one_backward(checkpointing, make_model):
    model = make_model(target_generator=BOTH)
    model.schedule(10)
    model.steps.fill_(5)
    model.backbone.set_grad_checkpointing(checkpointing)
    x, masks, singly = images(), [mask_of(images(), seed=s) for s in (1, 2)], []
    for mask in masks:
        model.zero_grad()
        model(x, mask=mask).backward()
        singly.append(gradients(model))
    model.zero_grad()
    (model(x, mask=masks[0]) + model(x, mask=masks[1])).backward()
    for p, a, b in zip(model.parameters(), *singly, strict=True):
        if p.grad is not None:
            torch.testing.assert_close(p.grad, a + b, rtol=1e-4, atol=1e-5)


def test_checkpointed_is_as_before(make_model):
    model, x, found = make_model(), images(), []
    for enable in (False, True):
        model.backbone.set_grad_checkpointing(enable)
        model.zero_grad()
        loss = model(x, mask=mask_of(x))
        loss.backward()
        found.append([loss, *gradients(model)])
    for a, b in zip(*found, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_bfloat16(make_model):
    model = make_model(target_generator={**BOTH, "dct": 1.0, "hog": 1.0})
    model.schedule(10)
    model.steps.fill_(5)
    x, mask = images(), mask_of(images())
    single = model.losses(x, mask=mask)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.losses(x, mask=mask)
        sum(half.values()).backward()
    for name, loss in half.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, single[name], rtol=0.05, atol=0.02)
    assert all(g.isfinite().all() for g in gradients(model) if g is not None)


def test_drawn_masks_follow_the_global_generator(make_model):
    model, x = make_model(), images()
    torch.manual_seed(1)
    first, second = model(x), model(x)
    torch.manual_seed(1)
    assert torch.equal(model(x), first) and not torch.equal(first, second)
    torch.manual_seed(1)
    mask = model.mask(2, (96, 64))
    assert torch.equal(model(x, mask=mask), first)


def test_without_a_neck_and_with_a_decoder(make_model):
    model = make_model(neck=None, head=PretrainingHead(decoder_depth=2, decoder_dim=12))
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (7, 7) for m in model.head.decoder.modules()) == 2
    loss = model(images())
    loss.backward()
    assert loss.isfinite() and all(p.grad.any() for p in model.head.align.parameters())
    with pytest.raises(ValueError, match=r"decoder_dim must be given where the levels have widths \[8, 12, 16, 20\]"):
        make_model(neck=None)


def test_levels_without_a_hidden_cell(make_model):
    """At stride 32 no cell may be hidden as a whole: its loss is 0, not a division by it."""
    model = make_model(target_generator={"features": 1.0}).eval()
    mask = torch.zeros(1, 2, 2, dtype=torch.bool)
    mask[0, 0, 0] = True
    loss = model(images(1, 32, 32), mask=mask)
    loss.backward()
    assert loss.isfinite() and loss > 0 and not model.head.features["32"].weight.grad.any()


@pytest.mark.parametrize("size", [(48, 80), (80, 48)])
def test_sizes_that_are_no_multiples_of_32(size, make_model):
    model = make_model(target_generator=BOTH).eval()
    assert model(images(2, *size)).isfinite()


def test_other_networks_see_grey():
    """Any network of timm's contract, with the fill that needs no mask inside of it."""
    import timm

    backbone = timm.create_model("convnext_atto", num_classes=0, depths=(1, 1, 1, 1), dims=(8, 12, 16, 20))
    head = PretrainingHead(decoder_dim=12)
    model = MaskedPretraining(backbone, head=head, mask=BlockUnits(32, 0.4), fill="grey")
    x, mask = images(2, 128, 128), mask_of(images(2, 128, 128), 32)
    found = model.maps(x, mask=mask)
    other = model.maps(torch.where(hidden_pixels(mask, 32), torch.nan, x), mask=mask)
    assert all(torch.equal(a, b) for a, b in zip(found, other, strict=True)) and model(x).isfinite()
    with pytest.raises(
        TypeError, match=r"fill='remask' needs a spectral network, which takes a mask: ConvNeXt can have"
    ):
        MaskedPretraining(backbone, head=PretrainingHead(decoder_dim=12))


def test_a_hivit_sees_grey():
    net = HiViT(embed_dim=32, depths=(1, 1, 2), num_heads=2, img_size=64, num_classes=0)
    model = MaskedPretraining(net, head=PretrainingHead(decoder_dim=12), fill="grey")
    assert model(images()).isfinite()
    for fill in ("remask", "token"):
        with pytest.raises(TypeError, match=f"fill='{fill}' needs a spectral network, .*: HiViT can have fill='grey'"):
            MaskedPretraining(net, head=PretrainingHead(decoder_dim=12), fill=fill)


# -- errors -----------------------------------------------------------------------------------------------------------


class Takes(nn.Module):
    """A neck that returns what it is told to."""

    def __init__(self, returns):
        super().__init__()
        self.returns = returns

    def forward(self, maps):
        return self.returns(maps)


def test_parts_that_do_not_fit(make_model, make_neck):
    for options, kind, words in (
        (
            {"neck": make_neck(norm_cfg={"type": "BN"})},
            ValueError,
            r"the neck has batch norms \(lateral_convs\.0\.bn, ",
        ),
        (
            {"neck": Takes(lambda maps: maps[0])},
            TypeError,
            r"neck must return a sequence of maps \(B, C, H, W\), Takes",
        ),
        (
            {"neck": Takes(lambda maps: [m[..., :1, :1] for m in maps])},
            ValueError,
            "none of the neck's maps .* stride of",
        ),
        ({"fill": "black"}, ValueError, r"fill must be one of \('remask', 'token', 'grey'\), got 'black'"),
        ({"mask": RandomUnits(8)}, ValueError, "the mask's unit of 8 px must be a multiple of the 16 px of pixels"),
        ({"target_generator": {"rgb": 1.0}}, KeyError, "targets must be of .*'features'.*, got 'rgb'"),
        ({"target_generator": {"pixels": 0}}, ValueError, "weight of 'pixels' must be a positive number, got 0"),
        ({"target_generator": {}}, ValueError, "targets must name at least one target"),
        ({"target_generator": [{"type": "dct"}] * 2}, ValueError, "targets has 'dct' twice"),
        ({"in_chans": 4}, ValueError, "in_chans is 4 and the backbone's 3"),
        ({"mask": "BlockUnits"}, TypeError, "mask must be a Mask that draws .*, got 'BlockUnits'; an explicit one is"),
        ({"mask": torch.ones(1, 2, 2)}, TypeError, r"mask must be a Mask that draws .*, got a tensor of \(1, 2, 2\)"),
    ):
        with pytest.raises(kind, match=words):
            make_model(**options)
    with pytest.raises(TypeError, match="backbone must have timm's forward_intermediates or features_only, Conv2d has"):
        MaskedPretraining(nn.Conv2d(3, 8, 1), fill="grey", neck=None)
    for arguments in ((-1, None), (0, 0), (1.5, None)):
        with pytest.raises(
            ValueError, match="decoder_depth must be an int of at least 0 and decoder_dim a positive int"
        ):
            PretrainingHead(*arguments)
    with pytest.raises(ValueError, match="std above 0"):
        Normalise([0.0], [0.0])


def test_images_that_do_not_fit(make_model):
    model = make_model()
    with pytest.raises(ValueError, match=r"images must be one at least, got \(0, 3, 64, 64\)"):
        model(torch.zeros(0, 3, 64, 64))
    with pytest.raises(TypeError, match=r"images must be normalised .*, got torch\.uint8: give a data_preprocessor"):
        model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_networks_that_return_their_maps():
    """They learn as the same network does that is asked for its maps; Swin's are channels-last."""
    for name, options in (
        ("resnet10t", {"out_indices": (1, 2, 3, 4)}),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 16, "depths": (1,) * 4, "num_heads": (1,) * 4, "img_size": 64}),
    ):
        net = timm.create_model(name, features_only=True, **options)
        whole = timm.create_model(name, num_classes=0, **{n: v for n, v in options.items() if n != "out_indices"})
        torch.manual_seed(0)
        model = MaskedPretraining(net, head=PretrainingHead(decoder_dim=8), fill="grey")
        assert [level.stride for level in model.head.levels] == [4, 8, 16, 32]
        torch.manual_seed(0)
        whole.out_indices = options.get("out_indices", (0, 1, 2, 3))
        other = MaskedPretraining(whole, head=PretrainingHead(decoder_dim=8), fill="grey")
        theirs = dict(zip(net.state_dict(), whole.state_dict().values(), strict=False))
        net.load_state_dict(theirs)
        head = zip(other.head.state_dict(), model.head.state_dict().values(), strict=True)
        other.head.load_state_dict(dict(head))
        x, mask = torch.randn(2, 3, 64, 64), torch.rand(2, 4, 4) < 0.5
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(x, mask=mask), other.eval()(x, mask=mask))


def test_features_of_maps_of_one_stride():
    net = timm.create_model("vit_tiny_patch16_224", img_size=64, embed_dim=32, num_heads=2, depth=2, num_classes=0)
    with pytest.raises(ValueError, match=r"levels of different strides, and the backbone's have \[16, 16\]"):
        MaskedPretraining(net, head=PretrainingHead(decoder_dim=8), fill="grey", target_generator={"features": 1.0})


def test_features_of_strides_that_the_neck_has_not(make_model, make_neck):
    neck = make_neck(start_level=1)
    with pytest.raises(ValueError, match=r"features of stride 4 cannot be predicted: .* strides \[8, 16, 32\]"):
        make_model(neck=neck, target_generator={"features": 1.0})
    model = make_model(neck=neck, target_generator=[{"type": "features", "strides": (16, 32)}]).eval()
    assert list(model.head.features) == ["16", "32"] and model(images()).isfinite()
    with pytest.raises(ValueError, match=r"strides must be of the backbone's \[4, 8, 16, 32\], got \[64\]"):
        make_model(target_generator=[{"type": "features", "strides": (64,)}])


def test_images_and_masks_that_do_not_fit(make_model):
    model = make_model()
    calls = []
    model.backbone.register_forward_pre_hook(lambda *_: calls.append(1))
    model.backbone.stem.register_forward_pre_hook(lambda *_: calls.append(1))
    x = images()
    mask = mask_of(x)
    for arguments, kind, words in (
        ({"images": x[:, :2]}, ValueError, r"images must have shape \(B, 3, H, W\), got \(2, 2, 96, 64\)"),
        ({"images": x[..., :60]}, ValueError, "multiples of the unit of 16 px, got 96 x 60 px"),
        ({"images": x, "mask": mask[:1]}, ValueError, r"mask must have shape \(B, h, w\) = \(2, 6, 4\)"),
        ({"images": x, "mask": mask.float()}, TypeError, "mask must be a bool tensor"),
        ({"images": x, "mask": mask | True}, ValueError, "mask hides all of image 0"),
        ({"images": x, "mask": mask & False}, ValueError, "mask hides nothing of image 0"),
        ({"images": x, "keep": torch.tensor([[0, 0], [0, 1]])}, ValueError, "unit 0 of image 0 more than once"),
        ({"images": x, "keep": torch.tensor([[0], [24]])}, ValueError, r"indices of 0\.\.23, got 0\.\.24"),
        ({"images": x, "keep": kept_units(mask), "mask": mask}, ValueError, "give keep= or mask=, not both"),
    ):
        with pytest.raises(kind, match=words):
            model(**arguments)
    assert not calls  # nothing has run


def test_training_needs_a_schedule(make_model):
    model = make_model(target_generator=BOTH)
    for call in (lambda: model(images()), model.after_update):
        with pytest.raises(RuntimeError, match=r"call model\.schedule\(total_steps\) before training"):
            call()
    for total in (0, 1.5, None):
        with pytest.raises(ValueError, match="total_steps must be a positive int"):
            model.schedule(total)
    assert model.eval()(images()).isfinite()
    for options in ({"momentum": 2}, {"alarm": 1}):
        with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\] and alarm in \[0, 1\)"):
            Features(**options)
    for warm_up in ((0.3, 0.1), (0.1,), (-0.1, 0.2)):
        with pytest.raises(ValueError, match="warm_up must be two shares of the updates"):
            Features(warm_up=warm_up)
    with pytest.raises(ValueError, match="strides must be ints"):
        Features(strides=())


def test_restoring_leaves_each_module_as_it_was(make_model):
    model = make_model().train()
    model.backbone.stages[0].eval()
    modes = [module.training for module in model.modules()]
    model.reconstruct(torch.randn(2, 3, 64, 64))
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(ValueError, match="multiples of the unit"):
        model.reconstruct(torch.randn(2, 3, 64, 65))
    assert [module.training for module in model.modules()] == modes
