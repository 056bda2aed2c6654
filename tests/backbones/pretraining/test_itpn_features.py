"""iTPN's feature form: losses against a restatement, with the leak and without, teachers, resumed training."""

from __future__ import annotations

import copy

import official_hivit
import official_itpn
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from backbones.pretraining import (
    BlockUnits,
    ITPNFeaturePretraining,
    RandomUnits,
    TeacherCollapse,
    hidden_pixels,
    mask_from_keep,
)
from backbones.weights.conversion import to_official

ARCH = {"embed_dim": 32, "depths": (1, 1, 4), "num_heads": 2}
KEEP = torch.tensor([[9, 2, 14, 5, 3, 8], [0, 1, 7, 15, 11, 4]])


def small(**options):
    return ITPNFeaturePretraining(ARCH, **{"img_size": 64, "pyramid_dim": 8, **options})


def teacher(size=64, **options):
    torch.manual_seed(7)
    return timm.create_model("vit_tiny_patch16_224", img_size=size, embed_dim=24, num_heads=2, depth=2, **options)


def images(seed=0, dtype=torch.float64, width=64):
    return torch.randn(2, 3, 64, width, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def mask():
    return mask_from_keep(KEEP, (2, 4, 4))


# -- losses -----------------------------------------------------------------------------------------------------------


def restated(model, image, hidden, target):
    """Both losses of one image, unit by unit, by official names where there are such."""
    state, own = to_official(model.network_tensors()), model.state_dict()
    first, second, _, _ = official_hivit.stage_units(state, image, 2)
    x = official_itpn.tokens(state, second)
    for unit in hidden:
        x[unit] = own["mask_token"]
        if not model.leak:
            first[unit] = own["local_tokens.0"].expand(4, 4, -1)
            second[unit] = own["local_tokens.1"].expand(2, 2, -1)
    after = official_itpn.last_stage(state, x + state["absolute_pos_embed"][0], 2)
    levels = official_hivit.pyramid_units(state, first, second, [token[None, None] for token in after[-1]])

    def named(prefix):
        return {n.removeprefix(prefix): t for n, t in own.items() if n.startswith(prefix)}

    embeds = {n.replace("norm.", "0.").replace("linear.", "1."): t for n, t in named("decoder.embeds.").items()}
    summed = torch.stack(
        [sum(official_itpn.embedded(embeds, f"{i}", level[u]) for i, level in enumerate(levels)) for u in range(16)]
    )
    decoder = named("decoder.")
    predicted = official_hivit._linear(decoder, "pred", official_hivit._norm(decoder, "norm", summed))
    x = after[2]  # three of four blocks
    for k in range(2):
        x = official_hivit._block(decoder, f"deep_blocks.{k}", x, 2, None, 1e-6)
    deep = official_hivit._linear(decoder, "deep_pred", official_hivit._norm(decoder, "deep_norm", x))
    normed = (target - target.mean(-1, keepdim=True)) / (target.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    counted = range(16) if model.loss_on == "all" else hidden

    def loss(found):
        error = (found - normed).abs()
        return torch.where(error < 1, 0.5 * error**2, error - 0.5)[list(counted)].mean()

    return torch.stack([loss(predicted), loss(deep)]), predicted


@pytest.mark.parametrize("loss_on", ["all", "hidden"])
@pytest.mark.parametrize("leak", [False, True])
@torch.no_grad()
def test_losses_are_those_of_the_equations(leak, loss_on, randomise):
    model = randomise(small(leak=leak, loss_on=loss_on).double()).eval()
    x = images()
    found, parts = model(x, keep=KEEP), model.losses(x, mask=mask())
    expected = []
    for i, hidden in enumerate(mask().flatten(1)):
        _, _, last, _ = official_hivit.stage_units(to_official(model.network_tensors()), x[i], 2)  # the teacher's, too
        losses, prediction = restated(model, x[i], hidden.nonzero()[:, 0].tolist(), torch.stack(last)[:, 0, 0])
        expected.append(losses)
        torch.testing.assert_close(found.prediction[i], prediction, rtol=1e-9, atol=1e-9)
    expected = torch.stack(expected).mean(0)
    assert list(parts) == ["pyramid", "deep"]
    torch.testing.assert_close(torch.stack(list(parts.values())), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.loss, expected.sum(), rtol=1e-9, atol=1e-9)
    assert [tuple(level.shape) for level in found.pyramid] == [(2, 16, p, p, 8) for p in (4, 2, 1)]


@torch.no_grad()
def test_what_is_hidden_leaks_only_as_asked(randomise):
    x, hidden = images(), hidden_pixels(mask(), 16)
    changed = torch.where(hidden, x + 1, x)
    clean = randomise(small().double()).eval()
    found, other = clean(x, keep=KEEP), clean(torch.where(hidden, torch.nan, x), keep=KEEP)
    assert torch.equal(found.prediction, other.prediction) and other.loss.isnan()  # the teacher does see it
    assert all(torch.equal(a, b) for a, b in zip(found.pyramid, other.pyramid, strict=True))
    leaking = randomise(small(leak=True).double()).eval()
    found, other = leaking(x, keep=KEEP), leaking(changed, keep=KEEP)
    fine, middle, coarse = ((a - b).abs().sum((2, 3, 4)) for a, b in zip(found.pyramid, other.pyramid, strict=True))
    assert torch.equal(fine > 0, mask().flatten(1)) and torch.equal(middle > 0, mask().flatten(1))
    assert not coarse.any()


def test_masks_by_default():
    drawn = small().mask(3, (224, 224))
    assert drawn.sum((1, 2)).tolist() == [75] * 3 and isinstance(small().mask, BlockUnits)
    torch.manual_seed(0)
    assert small().eval()(images(dtype=torch.float32)).prediction.shape == (2, 16, 32)


# -- teachers ---------------------------------------------------------------------------------------------------------


def test_a_frozen_teacher(randomise):
    net = randomise(teacher(), 3)
    model = small(teacher=net, mask=RandomUnits(16, 0.4))
    before = {n: t.clone() for n, t in model.features.state_dict().items()}
    expected = net.eval().forward_intermediates(images(dtype=torch.float32), [1], intermediates_only=True)[0]
    expected = F.layer_norm(expected.flatten(2).transpose(1, 2), (24,), eps=1e-6)
    for head in (model.decoder.pred, model.decoder.deep_pred):
        nn.init.zeros_(head.weight)
    losses = model.losses(images(dtype=torch.float32), keep=KEEP)  # of predictions that are zero
    for loss in losses.values():
        torch.testing.assert_close(loss, F.smooth_l1_loss(torch.zeros_like(expected), expected))
    assert not any(name.startswith("features.") for name, _ in model.named_parameters())
    sum(losses.values()).backward()
    model.after_update()  # there is nothing to schedule
    model.init_weights()
    now = model.features.state_dict()
    assert all(torch.equal(before[n], now[n]) for n in before) and any(n.startswith("teacher.") for n in now)
    assert all(p.isfinite().all() for p in model.parameters())
    assert model.decoder.pred.weight.abs().sum() > 0


def test_a_network_of_this_project_as_teacher():
    model = small(teacher={"model_name": "vheat_nano", "img_size": 64, "dims": (8, 8, 12, 12), "init_std": None})
    assert model(images(dtype=torch.float32), keep=KEEP).prediction.shape == (2, 16, 12)


def test_the_moving_average(randomise):
    model = randomise(small())  # after it was made: the teacher follows when training starts
    net = model.features.teacher.net
    assert not any(name.startswith(("pyramid", "decoder", "head")) for name in net.state_dict())
    with pytest.raises(RuntimeError, match=r"call model.schedule\(total_steps\)"):
        model(images(dtype=torch.float32))
    model.schedule(4)
    loss = model(images(dtype=torch.float32)).loss
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in net.state_dict().items())
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    old = {n: t.clone() for n, t in net.state_dict().items()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)
    model.after_update()
    assert int(model.steps) == 1
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, old[name] + 0.01 * 0.1, rtol=1e-4, atol=1e-5)
    assert not net.training and model.train().training and not net.training


def test_a_collapse_ends_the_training():
    model = small()
    model.schedule(4)
    for update in range(3):
        model(images(update, torch.float32))
        if update == 2:
            model.features.spread.mul_(0.1)
            with pytest.raises(TeacherCollapse, match="after 2 updates"):
                model.after_update()
        else:
            model.after_update()


def test_masks_that_show_more_of_one_image_than_of_another():
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[0, 0], mask[1, :2] = True, True
    images = torch.randn(2, 3, 64, 64)
    with pytest.raises(ValueError, match="mask must show as many units of each image, got 8 to 12"):
        small(leak=False, teacher=teacher())(images, mask=mask)
    model = small(leak=True, teacher=teacher()).eval()
    both, each = model(images, mask=mask), [model(images[i : i + 1], mask=mask[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(both.loss, torch.stack([one.loss for one in each]).mean())


@pytest.mark.parametrize("leak", [False, True])
def test_a_resumed_training_goes_on_exactly(leak):
    def updates(model, optimizer, seeds):
        for seed in seeds:
            optimizer.zero_grad()
            model(images(seed, torch.float32), keep=KEEP).loss.backward()
            optimizer.step()
            model.after_update()

    def started(seed):
        torch.manual_seed(seed)
        model = small(leak=leak, momentum=0.5)
        model.schedule(6)
        return model, torch.optim.AdamW(model.parameters(), 1e-2)

    model, optimizer = started(0)
    updates(model, optimizer, range(3))
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    other, again = started(1)
    other.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    updates(model, optimizer, range(3, 6))
    updates(other, again, range(3, 6))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    taught = model.features.teacher.net.state_dict()
    assert int(model.steps) == 6 and any(not torch.equal(t, model.state_dict()[n]) for n, t in taught.items())


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    model = small(teacher=teacher(), mask=RandomUnits(16, 0.4))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(images(dtype=torch.float32)).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.parametrize("leak", [False, True])
def test_checkpointed_blocks_and_bfloat16(leak, randomise):
    gradients = []
    for checkpointing in (False, True):
        model = randomise(small(leak=leak, teacher=teacher()))
        model.set_grad_checkpointing(checkpointing)
        loss = model(images(dtype=torch.float32), keep=KEEP).loss
        loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    with torch.autocast("cpu", torch.bfloat16):
        half = model(images(dtype=torch.float32), keep=KEEP).loss
    half.backward()
    assert half.dtype == torch.float32 and abs(half - loss) < 0.05 * loss


# -- bad input --------------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """Maps of stride 16 that lack a column."""

    feature_info = ({"num_chs": 3, "reduction": 16},)

    def forward(self, x):
        return [F.avg_pool2d(x, 16)[..., 1:]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"teacher": Odd()}, ValueError, r"the teacher Odd has a map of \(4, 3\) cells where there are \(4, 4\) units"),
        ({"teacher": nn.Linear(2, 2)}, TypeError, "teacher must be a timm name, a dict or a module with feature_info"),
        ({"loss_on": "seen"}, ValueError, "loss_on must be one of .*got 'seen'"),
        ({"momentum": 2.0}, ValueError, "momentum must be in"),
        ({"mask": RandomUnits(32)}, ValueError, "mask must have units of 16 px"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        small(**options)


def test_teachers_that_do_not_fit():
    with pytest.raises(ValueError, match=r"teacher VisionTransformer cannot take images of \(1, 3, 64, 64\)"):
        small(teacher=teacher(96))
    eights = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8, embed_dim=24, num_heads=2, depth=1)
    with pytest.raises(ValueError, match=r"has maps of strides \[8\] and none of \[16\]"):
        small(teacher=eights)
    model = small(teacher=teacher(dynamic_img_size=True))
    assert model(images(dtype=torch.float32, width=96)).prediction.shape == (2, 24, 24)
    with pytest.raises(ValueError, match="embed_dim must be a multiple of 16"):
        ITPNFeaturePretraining({"embed_dim": 24, "depths": (1, 1, 4), "num_heads": 2}, img_size=64)
    with pytest.raises(ValueError, match="show as many units"):
        small()(images(dtype=torch.float32), mask=torch.arange(32).reshape(2, 4, 4) % 11 > 3)


def test_there_are_no_pictures():
    with pytest.raises(ValueError, match="images cannot be restored from features"):
        small().reconstruct(images(dtype=torch.float32))
