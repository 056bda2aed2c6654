"""Masked images: nothing of a hidden pixel is seen anywhere, and without a mask nothing changes."""

from __future__ import annotations

import pytest
import timm
import torch

from backbones.blocks import visible_at_half_size

FAMILIES = ["vheat", "vwave", "vtail", "vpoisson", "vmix"]


def make(name, randomise, **options):
    return randomise(timm.create_model(f"{name}_nano", num_classes=3, img_size=64, **options)).eval()


def patches(batch, height, width, size=32, seed=0):
    """A mask of square patches, about half of them visible, never none."""
    cells = torch.rand(batch, 1, -(-height // size), -(-width // size), generator=torch.Generator().manual_seed(seed))
    mask = cells > cells.flatten(1).median(1).values[:, None, None, None] - 1e-6
    return mask.repeat_interleave(size, 2).repeat_interleave(size, 3)[:, :, :height, :width]


@pytest.mark.parametrize("norm_placement", ["pre", "post"])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_what_is_hidden_changes_nothing(name, norm_placement, randomise):
    net = make(name, randomise, norm_placement=norm_placement, layer_scale=0.5)
    x, visible = torch.randn(2, 3, 128, 96), patches(2, 128, 96)
    assert not visible.all() and visible.any()
    maps = net.forward_stages(x, visible=visible)
    for value in (0.0, 1e4, torch.nan):
        other = net.forward_stages(torch.where(visible, x, torch.full_like(x, value)), visible=visible)
        assert all(torch.equal(a, b) for a, b in zip(maps, other, strict=True))
    for i, m in enumerate(maps):
        cells = visible[..., :: 4 * 2**i, :: 4 * 2**i].permute(0, 2, 3, 1)
        assert not m[~cells.expand_as(m)].any() and m[cells.expand_as(m)].all()


@pytest.mark.parametrize("norm_placement", ["pre", "post"])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_hidden_cells_are_zero_wherever_cells_mix_and_behind_every_branch(name, norm_placement, randomise):
    net = make(name, randomise, norm_placement=norm_placement, layer_scale=0.5)
    x, visible = torch.randn(2, 3, 128, 96), patches(2, 128, 96)
    by_size = {(128 // s, 96 // s): visible[:, 0, ::s, ::s] for s in (1, 2, 4, 8, 16, 32)}  # units of 32 px
    seen = []

    def look(name, channels_first):
        def hook(module, args):
            x = args[0].permute(0, 2, 3, 1) if channels_first else args[0]
            hidden = x[~by_size[tuple(x.shape[1:3])]]
            assert len(hidden) and not hidden.any(), name
            seen.append(name)

        return hook

    behind_the_first_branch = ".norm2" if norm_placement == "pre" else ".mlp"
    for where, module in net.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(look(where, True))
        elif where.startswith("stages") and where.endswith((".operator", behind_the_first_branch)):
            module.register_forward_pre_hook(look(where, False))
    maps = net.forward_stages(x, visible=visible)
    for m in maps:
        assert not m[~by_size[tuple(m.shape[1:3])]].any()
    assert len(seen) == 2 + 3 + 3 * 6  # stem, downsamplings, and of six blocks convolution, operator and first branch


@pytest.mark.parametrize("norm_placement", ["pre", "post"])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_without_a_mask_the_network_is_one_that_knows_none(name, norm_placement, randomise):
    """Its layers one after the other, written down without masks: bit for bit."""
    net = make(name, randomise, norm_placement=norm_placement, layer_scale=0.5)
    images = torch.randn(2, 3, 96, 64)

    def mixed(mixer, x, embedding):
        x = mixer.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        value = torch.nn.functional.linear(x, mixer.value.weight, mixer.value.bias)
        gate = torch.nn.functional.silu(torch.nn.functional.linear(x, mixer.gate.weight, mixer.gate.bias))
        return mixer.proj(mixer.norm(mixer.operator(value, embedding=embedding)) * gate)

    stem = net.stem
    x = images.contiguous(memory_format=torch.channels_last)
    x = stem.act(stem.norm1(stem.conv1(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
    x = stem.norm2(stem.conv2(x).permute(0, 2, 3, 1))
    for stage, found in zip(net.stages, net.forward_stages(images), strict=True):
        x = stage.downsample(x)
        embedding = None if stage.embedding is None else stage.embedding(x.shape[1:3])
        for b in stage.blocks:
            first = b.norm1(x) if b.pre_norm else x
            first = mixed(b.mixer, first, embedding)
            x = x + b.scale1(first if b.pre_norm else b.norm1(first))
            second = b.mlp(b.norm2(x) if b.pre_norm else x)
            x = x + b.scale2(second if b.pre_norm else b.norm2(second))
        assert torch.equal(x, found)


@pytest.mark.parametrize("name", ["vheat", "vtail"])
def test_no_mask_and_a_mask_that_hides_nothing(name, randomise):
    net = make(name, randomise)
    x = torch.randn(2, 3, 64, 96)
    plain = net.forward_stages(x)
    with torch.no_grad():
        seen = net.forward_stages(x, visible=torch.ones(2, 1, 64, 96, dtype=torch.bool))
    for a, b in zip(plain, seen, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert torch.equal(net.forward_features(x), net.norm(plain[-1]))


def test_gates_pool_what_is_visible(randomise):
    """An operator conditioned on its input must not take hidden cells for zeros of it."""
    net = make("vtail", randomise)
    pooled = []
    for module in net.modules():
        if getattr(module, "needs_input", False):
            module.register_forward_pre_hook(lambda m, args: pooled.append(args[0].pooled))
            break
    x = torch.randn(1, 3, 64, 64)
    visible = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    visible[..., :32, :] = True
    values = []
    net.stages[0].blocks[0].mixer.value.register_forward_hook(lambda m, args, y: values.append(y))
    net.forward_stages(x, last=0, visible=visible)
    torch.testing.assert_close(pooled[0], values[0][:, :8].mean((1, 2)))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_two_masks_before_one_backward(checkpointing, randomise):
    net = make("vheat", randomise).train()
    net.set_grad_checkpointing(checkpointing)
    x, masks = torch.randn(2, 3, 64, 64), [patches(2, 64, 64, seed=s) for s in (1, 2)]
    singly = []
    for mask in masks:
        net.zero_grad()
        net.forward_features(x, mask).square().sum().backward()
        singly.append([p.grad.clone() if p.grad is not None else None for p in net.parameters()])
    net.zero_grad()
    sum(net.forward_features(x, mask).square().sum() for mask in masks).backward()
    for p, a, b in zip(net.parameters(), *singly, strict=True):
        if p.grad is not None:
            torch.testing.assert_close(p.grad, a + b)


def test_masks_of_coarser_maps_are_visible_where_any_cell_is():
    mask = torch.zeros(1, 5, 4, 1, dtype=torch.bool)
    mask[0, 4, 0] = mask[0, 1, 3] = True
    expected = torch.tensor([[False, True], [False, False], [True, False]])
    assert torch.equal(visible_at_half_size(mask)[0, ..., 0], expected)


@torch.no_grad()
def test_half_precision(randomise):
    from spectral_ops.mixer import _visible_mean

    large = torch.full((1, 56, 56, 2), 40.0, dtype=torch.float16)  # their sum is beyond float16
    assert torch.equal(_visible_mean(large, torch.ones(1, 56, 56, 1, dtype=torch.bool)), large[:, 0, 0])
    net = make("vheat", randomise).bfloat16()
    maps = net.forward_stages(torch.randn(2, 3, 64, 64, dtype=torch.bfloat16), visible=patches(2, 64, 64))
    assert maps[-1].dtype == torch.bfloat16


@pytest.mark.parametrize(
    "mask", [torch.ones(2, 1, 64, 64), torch.ones(1, 1, 64, 64).bool(), torch.ones(2, 64, 64).bool()], ids=str
)
def test_errors(mask, randomise):
    with pytest.raises(ValueError, match=r"visible must be bool of shape \(2, 1, 64, 64\), got torch\."):
        make("vheat", randomise).forward_features(torch.randn(2, 3, 64, 64), mask)
