"""Packed copies compute what the model does, and leave it as it is."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
from torch import nn

from backbones import packed, packing

TIMM = [
    ("convnext_atto", {}),
    ("pvt_v2_b0", {}),
    ("vit_tiny_patch16_224", {"depth": 2, "img_size": 64}),
    ("swin_tiny_patch4_window7_224", {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "img_size": 56}),
    ("resnet10t", {}),
]


@pytest.fixture
def packed_in_bfloat16():
    """Packs; where the processor has no bfloat16, that is what must be said, and nothing is left to compare."""

    def pack(model, images):
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return packed(model, images, dtype=torch.bfloat16)
        with pytest.raises(RuntimeError, match="in bfloat16 needs a processor"):
            packed(model, images, dtype=torch.bfloat16)
        pytest.skip("refused, as it must be: oneDNN uses no bfloat16 on this processor")

    return pack


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


@pytest.mark.parametrize(("name", "options"), TIMM)
def test_equals_networks_of_timm(name, options, randomise):
    net = randomise(timm.create_model(name, num_classes=7, **options)).eval()
    images = torch.randn(2, 3, options.get("img_size", 64), options.get("img_size", 64))
    fast = packed(net, images)
    with torch.no_grad():
        assert _error(fast(images), net(images)) < 1e-5
    left = [m for m in fast.modules() if isinstance(m, nn.Linear)]
    assert not left and any(isinstance(m, nn.Linear) for m in net.modules())


@pytest.mark.parametrize(("name", "options"), [("vheat_nano", {}), *TIMM])
def test_bfloat16_equals_the_network_under_autocast(name, options, randomise, packed_in_bfloat16):
    net = randomise(timm.create_model(name, num_classes=7, **options)).eval()
    images = torch.randn(2, 3, options.get("img_size", 64), options.get("img_size", 64))
    fast = packed_in_bfloat16(net, images)
    with torch.no_grad():
        exact, alone = net(images), fast(images)
        with torch.autocast("cpu", torch.bfloat16):
            rounded, found = net(images), fast(images)
    assert found.dtype == rounded.dtype and alone.dtype == torch.float32
    assert 1e-5 < _error(found, exact) < 2 * _error(rounded, exact)
    assert 1e-5 < _error(alone, exact) < 2 * _error(rounded, exact)


def test_the_model_is_left_as_it_is(net, randomise):
    net = randomise(net).eval()
    before = copy.deepcopy(net.state_dict())
    fast, images = packed(net, torch.randn(1, 3, 64, 64)), torch.randn(1, 3, 64, 64)
    assert all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    net(images).sum().backward()
    with torch.no_grad():
        expected = fast(images)
        for parameter in net.parameters():
            parameter.add_(0.5)
        assert torch.equal(fast(images), expected)


class _Outputs(nn.Module):
    """Gives what rounding changes, and what it may not."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        y = self.layer(input=x)
        return {"y": y, "largest": y.argmax(1), "positive": y > 0, "masked": y.masked_fill(y > 0, float("-inf"))}


def test_outputs_of_all_kinds():
    model, x = _Outputs().eval(), torch.randn(3, 8)
    fast = packed(model, x)
    with torch.no_grad():
        found, expected = fast(x), model(x)
    assert torch.allclose(found["y"], expected["y"], atol=1e-5)
    assert all(torch.equal(found[name], expected[name]) for name in ("largest", "positive"))


class _Spectrum(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return torch.fft.fft(self.layer(x))


def test_complex_outputs_are_compared(monkeypatch):
    x = torch.randn(3, 8)
    packed(_Spectrum().eval(), x)
    monkeypatch.setattr(packing, "_data", lambda tensor, dtype: 2 * tensor.detach())
    with pytest.raises(RuntimeError, match="a packed copy of _Spectrum computes something else"):
        packed(_Spectrum().eval(), x)


class _Cancels(nn.Module):
    """What float32 cannot tell from zero."""

    def __init__(self, x):
        super().__init__()
        self.layer = nn.Linear(256, 256)
        exact = nn.functional.linear(x.double(), self.layer.weight.double(), self.layer.bias.double())
        self.register_buffer("exact", exact.detach().float())

    def forward(self, x):
        return self.layer(x) - self.exact


def test_outputs_that_are_all_rounding(monkeypatch):
    x = torch.randn(4, 256)
    model = _Cancels(x).eval()
    assert isinstance(packed(model, x), _Cancels)
    monkeypatch.setattr(packing, "TOLERANCES", {torch.float32: (1e-3, 1e-9)})
    with pytest.raises(RuntimeError, match="computes something else"):
        packed(model, x)


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_bfloat16_of_a_single_small_output(seed, packed_in_bfloat16):
    torch.manual_seed(seed)
    net = timm.create_model("vtail_nano", num_classes=1).eval()
    packed_in_bfloat16(net, torch.randn(1, 3, 64, 64))


class _Exact(nn.Module):
    """Has a layer that autocast does not round."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            return self.last(x), self.first(x).float()


def test_layers_that_autocast_leaves_in_float32(packed_in_bfloat16):
    model, x = _Exact().eval(), torch.randn(3, 8)
    fast = packed_in_bfloat16(model, x)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert all(_error(ours, theirs) < 1e-6 for ours, theirs in zip(fast(x), model(x), strict=True))


class _Between(nn.Module):
    """Has an fc1 and an act, with something else between them."""

    def __init__(self):
        super().__init__()
        self.fc1, self.norm, self.act = nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU()

    def forward(self, x):
        return self.act(self.norm(self.fc1(x)))


class _Reader(nn.Module):
    """Calls a layer, and reads its weight too."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(input=x) @ self.layer.weight


def _shared():
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.ReLU(), layer)


@pytest.mark.parametrize("make", [_Between, _shared, lambda: nn.Linear(8, 8)], ids=["between", "shared", "root"])
def test_modules_of_other_kinds(make):
    model, x = make().eval(), torch.randn(3, 8)
    fast = packed(model, x)
    with torch.no_grad():
        assert _error(fast(x), model(x)) < 1e-5
    assert not [m for m in fast.modules() if isinstance(m, nn.Linear)]
    assert all(p.requires_grad for p in model.parameters())


def test_a_copy_that_does_not_run_or_differs_is_not_returned(monkeypatch):
    with pytest.raises(RuntimeError, match="a packed copy of _Reader does not run"):
        packed(_Reader().eval(), torch.randn(3, 8))
    monkeypatch.setattr(packing, "_data", lambda tensor, dtype: None if tensor is None else 2 * tensor.detach())
    with pytest.raises(RuntimeError, match="a packed copy of Linear computes something else"):
        packed(nn.Linear(8, 8).eval(), torch.randn(3, 8))


def test_under_autocast_it_computes_in_float32(net, randomise):
    net, images = randomise(net).eval(), torch.randn(1, 3, 64, 64)
    fast = packed(net, images)
    with torch.no_grad():
        expected = fast(images)
        with torch.autocast("cpu", torch.bfloat16):
            assert _error(fast(images), expected) < 1e-2


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


def test_without_onednn(net, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="packing needs a torch built with oneDNN"):
        packed(net.eval(), torch.randn(1, 3, 64, 64))


def test_without_bfloat16(net, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(RuntimeError, match="in bfloat16 needs a processor"):
        packed(net.eval(), torch.randn(1, 3, 64, 64), dtype=torch.bfloat16)


def test_what_cannot_be_packed(net):
    images = torch.randn(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"must be in eval mode, call model.eval\(\) first"):
        packed(net.train(), images)
    net.eval()
    with pytest.raises(ValueError, match=r"dtype must be torch.float32 or torch.bfloat16, got torch.float16"):
        packed(net, images, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"float32 on the CPU, got stem\.conv1\.weight in torch\.float64 on cpu"):
        packed(copy.deepcopy(net).double(), images)
    fast = packed(net, images)
    for use in (fast.state_dict, lambda: copy.deepcopy(fast), lambda: pickle.dumps(fast), lambda: packed(fast, images)):
        with pytest.raises(RuntimeError, match="take the model that it was packed from"):
            use()
    for wrong in (images.to(torch.uint8), images.double()):
        with pytest.raises(RuntimeError, match=r"takes float32, or what autocast makes of it, got torch\."):
            fast(wrong)
    with pytest.raises(RuntimeError, match="a packed model has no gradients"):
        fast(images.requires_grad_())
