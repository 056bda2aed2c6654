"""Stem, downsampling and block."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F

from backbones.blocks import Downsample, Mlp, SpectralBlock, Stem, halved
from spectral_ops import FromEmbedding, Heat, recompute, use_kernels


@pytest.fixture
def x():
    return torch.randn(2, 6, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _block(randomise, **options):
    return randomise(SpectralBlock(8, Heat(diffusivity=0.5, dims=(1, 2)), **options)).double().eval()


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_halved_is_what_the_convolution_does(size):
    conv = torch.nn.Conv2d(1, 1, 3, stride=2, padding=1)
    assert halved(size) == conv(torch.zeros(1, 1, size, 1)).shape[2]


def test_stem(randomise):
    stem = randomise(Stem(3, 8)).double()
    x = torch.randn(2, 3, 33, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def norm(x, layer):
        x = x.permute(0, 2, 3, 1)
        return F.layer_norm(x, x.shape[-1:], layer.weight, layer.bias, 1e-6).permute(0, 3, 1, 2)

    y = F.gelu(norm(F.conv2d(x, stem.conv1.weight, stem.conv1.bias, stride=2, padding=1), stem.norm1))
    y = norm(F.conv2d(y, stem.conv2.weight, stem.conv2.bias, stride=2, padding=1), stem.norm2)
    assert stem(x).shape == (2, 9, 10, 8)
    torch.testing.assert_close(stem(x), y.permute(0, 2, 3, 1))


def test_downsample(x, randomise):
    down = randomise(Downsample(8, 12)).double()
    y = F.conv2d(x.permute(0, 3, 1, 2), down.conv.weight, stride=2, padding=1).permute(0, 2, 3, 1)
    assert down.conv.bias is None and down(x).shape == (2, 3, 3, 12)
    torch.testing.assert_close(down(x), F.layer_norm(y, (12,), down.norm.weight, down.norm.bias, 1e-5))


@pytest.mark.parametrize("scale", [None, 0.5])
def test_pre_norm(x, scale, randomise):
    block = _block(randomise, layer_scale=scale)
    gamma1, gamma2 = (1, 1) if scale is None else (block.scale1.gamma, block.scale2.gamma)
    y = x + gamma1 * block.mixer(block.norm1(x))
    torch.testing.assert_close(block(x), y + gamma2 * block.mlp(block.norm2(y)))


def test_post_norm(x, randomise):
    block = _block(randomise, norm_placement="post", layer_scale=0.5)
    y = x + block.scale1.gamma * block.norm1(block.mixer(x))
    torch.testing.assert_close(block(x), y + block.scale2.gamma * block.norm2(block.mlp(y)))
    pre = _block(randomise, layer_scale=0.5)
    pre.load_state_dict(block.state_dict())
    assert not torch.allclose(pre(x), block(x))


def test_norms_and_widths():
    block = SpectralBlock(8, Heat(dims=(1, 2)), mlp_ratio=3, layer_scale=0.25)
    assert block.norm1.eps == block.norm2.eps == 1e-6 and block.mixer.norm.eps == 1e-5
    assert block.mlp.fc1.out_features == 24 and block.mlp.fc2.in_features == 24
    assert torch.equal(block.scale2.gamma, torch.full((8,), 0.25))


def test_the_embedding_reaches_the_operator(x, randomise):
    block = randomise(SpectralBlock(8, Heat(diffusivity=FromEmbedding(8), dims=(1, 2)))).double()
    embedding = torch.randn(6, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert not torch.allclose(block(x, embedding=embedding), block(x, embedding=-embedding))
    with pytest.raises(ValueError, match="spectral embedding"):
        block(x)


def test_gradients_reach_every_parameter(x, randomise):
    block = _block(randomise, layer_scale=0.5)
    block(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters())


def test_drop_path_keeps_or_drops_whole_samples(randomise):
    block = _block(randomise, drop_path=0.5).train()
    torch.manual_seed(0)
    x = torch.randn(1, 4, 4, 8, dtype=torch.float64).expand(64, 4, 4, 8)
    y = block(x)
    dropped = (y == x).flatten(1).all(1)
    assert 4 < dropped.sum() < 32  # a quarter lose both branches
    assert torch.equal(block.eval()(x)[0], block(x[:1])[0])


def test_an_unknown_norm_placement():
    with pytest.raises(ValueError, match=r"norm_placement must be one of \('pre', 'post'\), got 'mid'"):
        SpectralBlock(8, Heat(dims=(1, 2)), norm_placement="mid")


def test_an_operator_over_other_dims():
    with pytest.raises(ValueError, match=r"operator must act on dims=\(1, 2\)"):
        SpectralBlock(8, Heat())


def _mlp_gradients(mlp, x, plain):
    hook = mlp.act.register_forward_hook(lambda module, args, y: y * torch.linspace(0, 1, 32))
    torch.manual_seed(1)
    y = mlp.fc2(mlp.act(mlp.fc1(x))) if plain else mlp(x)
    hook.remove()
    mlp.zero_grad()
    y.square().sum().backward()
    return [p.grad.clone() for p in mlp.parameters()]


@pytest.mark.parametrize(
    "act", [nn.GELU(), nn.SiLU(inplace=True), nn.RReLU(), nn.PReLU(), nn.Sequential(nn.GELU(), nn.Dropout(0.5))]
)
def test_gradients_of_an_mlp_are_those_of_its_forward_pass(act):
    """Nothing is called again in backward that could give something else, such as hooks and random activations."""
    mlp, x = Mlp(8, 32), torch.randn(2, 3, 5, 8)
    mlp.act = act
    with use_kernels(convolved=False):
        one, other = (_mlp_gradients(mlp, x, plain) for plain in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_mlp_does_not_keep_the_activated_map(monkeypatch):
    mlp, kept, gelu = Mlp(8, 32), [], torch.nn.functional.gelu

    def watched(x, **options):
        y = gelu(x, **options)
        kept.append(StorageWeakRef(y.untyped_storage()))
        return y

    monkeypatch.setattr(torch.nn.functional, "gelu", watched)
    monkeypatch.setattr(recompute, "LARGE", 0)
    y = mlp(torch.randn(2, 3, 5, 8))
    assert kept[0].expired()
    y.sum().backward()
    assert mlp.fc2.weight.grad.any()
