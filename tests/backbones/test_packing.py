"""Packed copies compute what the model does, and leave it as it is."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from backbones.packing import packed

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def _error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("post", [False, True], ids=["pre-norm", "post-norm"])
@pytest.mark.parametrize("stored", [False, True], ids=["physics", "stored gains"])
def test_equals_the_network_on_every_size(post, stored, make_net, randomise):
    net = randomise(make_net(post=post)).eval()
    if stored:
        net.reparameterize([64])
    fast = packed(net, torch.randn(1, 3, 64, 64))
    for shape in ((1, 3, 64, 64), (3, 3, 64, 64), (2, 3, 50, 96)):
        images = torch.randn(shape)
        with torch.no_grad():
            assert _error(fast(images), net(images)) < 1e-5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("convnext_atto", {}),
        ("vit_tiny_patch16_224", {"depth": 2, "img_size": 64}),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "img_size": 56}),
        ("resnet10t", {}),
    ],
)
def test_equals_networks_of_timm(name, options, randomise):
    net = randomise(timm.create_model(name, num_classes=7, **options)).eval()
    images = torch.randn(2, 3, options.get("img_size", 64), options.get("img_size", 64))
    fast = packed(net, images)
    with torch.no_grad():
        assert _error(fast(images), net(images)) < 1e-5
    left = [m for m in fast.modules() if isinstance(m, nn.Linear)]
    assert not left and any(isinstance(m, nn.Linear) for m in net.modules())


def test_the_model_is_left_as_it_is(net, randomise):
    net = randomise(net).eval()
    before = copy.deepcopy(net.state_dict())
    fast, images = packed(net, torch.randn(1, 3, 64, 64)), torch.randn(1, 3, 64, 64)
    assert all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    net(images).sum().backward()
    assert not fast(images).requires_grad
    own, given = ({p.data_ptr() for p in module.parameters()} for module in (fast, net))
    assert not own & given


def test_a_layer_with_a_hook_is_called_as_before(net, randomise):
    net = randomise(net).eval()
    seen = []
    net.stages[0].blocks[0].mlp.fc1.register_forward_hook(lambda *args: seen.append(1))
    images = torch.randn(1, 3, 64, 64)
    fast = packed(net, images)
    seen.clear()
    with torch.no_grad():
        assert _error(fast(images), net(images)) < 1e-5
    assert len(seen) == 2


def test_what_cannot_be_packed(net):
    images = torch.randn(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"must be in eval mode, call model.eval\(\) first"):
        packed(net.train(), images)
    net.eval()
    with pytest.raises(ValueError, match=r"float32 on the CPU, got stem\.conv1\.weight in torch\.float64 on cpu"):
        packed(copy.deepcopy(net).double(), images)
    with pytest.raises(RuntimeError, match="save the model that it was packed from"):
        packed(net, images).state_dict()
