"""vHeat: its published sizes, and a second implementation of it from the equations, in float64."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import backbones

PUBLISHED = {  # parameters and GMACs at 224, train form and precomputed form
    "tiny": ((30_853_480, 29_558_056), (4.908, 4.561)),
    "small": ((52_220_392, 50_054_056), (9.128, 8.435)),
    "base": ((92_132_328, 87_498_984), (16.102, 14.869)),
}


def _size(model: torch.nn.Module) -> int:
    return sum(t.numel() for t in model.state_dict().values())


def _gmacs(model: torch.nn.Module) -> float:
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 224, 224, device="meta"))
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize("arch", PUBLISHED)
def test_published_parameters_and_macs(arch):
    with torch.device("meta"):
        model = timm.create_model(f"vheat_{arch}").eval()
    (train, precomputed), (train_gmacs, precomputed_gmacs) = PUBLISHED[arch]
    assert _size(model) == train
    assert _gmacs(model) == pytest.approx(train_gmacs, abs=5e-4)
    model.reparameterize([224], keep_source=False)
    assert _size(model) == precomputed
    assert _gmacs(model) == pytest.approx(precomputed_gmacs, abs=5e-4)


@pytest.mark.parametrize(("arch", "count"), [("tiny", 241), ("small", 505), ("base", 505)])
def test_official_names_and_shapes(arch, count, official_shapes):
    with torch.device("meta"):
        model = timm.create_model(f"vheat_{arch}")
    spec = backbones.ARCHS[arch]
    exported = backbones.to_official(model.state_dict())
    assert len(exported) == count
    expected = official_shapes(spec["dims"], spec["depths"], post=arch != "tiny")
    assert {name: tuple(t.shape) for name, t in exported.items()} == expected


def test_published_configuration():
    for arch, spec in backbones.ARCHS.items():
        with torch.device("meta"):
            model = timm.create_model(f"vheat_{arch}")
        block = model.stages[0].blocks[0]
        assert block.pre_norm == (arch in ("nano", "tiny"))
        assert hasattr(block.scale1, "gamma") == (arch in ("small", "base"))
        assert [len(stage.blocks) for stage in model.stages] == list(spec["depths"])
    scale = timm.create_model("vheat_small", depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)).stages[0].blocks[0].scale1
    assert torch.equal(scale.gamma, torch.full((8,), 1e-5))


def test_fresh_network_is_initialised_as_published():
    torch.manual_seed(0)
    model = timm.create_model("vheat_tiny", depths=(1, 1, 1, 1))
    embedding, linear = model.stages[0].embedding.weight, model.stages[0].blocks[0].mixer.operator.diffusivity.linear
    assert embedding.std().item() == pytest.approx(0.02, rel=0.05)
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not linear.bias.any() and not model.head.fc.bias.any()
    k = torch.relu(linear(embedding))
    assert 0.3 < (k == 0).float().mean().item() < 0.7 and k.max().item() < 0.02
    conv = model.stem.conv1
    bound = 1 / math.sqrt(27)  # PyTorch's default, not the 0.02 of the linears
    assert 0.8 * bound < conv.weight.abs().max().item() <= bound and conv.bias.any()


def test_nano_is_initialised_by_fan_in():
    torch.manual_seed(0)
    model = timm.create_model("vheat_nano")
    for linear in (m for m in model.modules() if isinstance(m, torch.nn.Linear)):
        assert linear.weight.std().item() == pytest.approx(linear.in_features**-0.5, rel=0.1)
    with pytest.raises(ValueError, match="init_std must be None or >= 0, got -1"):
        timm.create_model("vheat_nano", init_std=-1)


# -- the reference: channels-first, official names, nothing shared with the implementation ----------------------------


def _norm(x: Tensor, state: dict[str, Tensor], name: str, eps: float) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)
    scale, shift = state[f"{name}.weight"][:, None, None], state[f"{name}.bias"][:, None, None]
    return (x - mean) / (variance + eps).sqrt() * scale + shift


def _pointwise(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    weight = state[f"{name}.weight"].flatten(1)
    return torch.einsum("oc,bchw->bohw", weight, x) + state[f"{name}.bias"][:, None, None]


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def _cosines(n: int) -> Tensor:
    rows = [[math.cos(math.pi * k * (2 * i + 1) / (2 * n)) for i in range(n)] for k in range(n)]
    scale = torch.full((n, 1), math.sqrt(2 / n), dtype=torch.float64)
    scale[0] = math.sqrt(1 / n)
    return scale * torch.tensor(rows, dtype=torch.float64)


def _hco(x: Tensor, state: dict[str, Tensor], name: str, embedding: Tensor | None) -> Tensor:
    channels, height, width = x.shape[1:]
    x = F.conv2d(x, state[f"{name}.dwconv.weight"], state[f"{name}.dwconv.bias"], padding=1, groups=channels)
    value, gate = _pointwise(x, state, f"{name}.linear").split(channels, dim=1)
    if embedding is None:
        gain = state[f"{name}.k_exp"].permute(2, 0, 1)
    else:
        k = torch.relu(_pointwise(embedding[None], state, f"{name}.to_k.0")[0])
        rows = torch.tensor([(math.pi * n / height) ** 2 for n in range(height)], dtype=torch.float64)
        columns = torch.tensor([(math.pi * m / width) ** 2 for m in range(width)], dtype=torch.float64)
        gain = torch.exp(-(rows[:, None] + columns[None, :]) * k)
        assert gain.mean() < 0.9 and gain.std() > 0.1  # far from the identity, or the comparison would prove nothing
    cosines_h, cosines_w = _cosines(height), _cosines(width)
    spectrum = torch.einsum("nh,mw,bchw->bcnm", cosines_h, cosines_w, value) * gain
    y = torch.einsum("nh,mw,bcnm->bchw", cosines_h, cosines_w, spectrum)
    gated = _norm(y, state, f"{name}.out_norm", 1e-5) * gate * torch.sigmoid(gate)
    return _pointwise(gated, state, f"{name}.out_linear")


def _reference(state: dict[str, Tensor], x: Tensor, depths: tuple[int, ...], post: bool) -> tuple[list[Tensor], Tensor]:
    """Features of each stage (before the downsampling) and logits, or the normed features for a dense file."""

    def conv(x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride=2, padding=1)

    x = _gelu(_norm(conv(x, "patch_embed.conv1"), state, "patch_embed.norm1.1", 1e-6))
    x = _norm(conv(x, "patch_embed.conv2"), state, "patch_embed.norm2.1", 1e-6)
    features = []
    for i, depth in enumerate(depths):
        embedding = state.get(f"freq_embed.{i}")
        if embedding is not None:
            embedding = embedding.permute(2, 0, 1)
            if embedding.shape[1:] != x.shape[2:]:
                embedding = F.interpolate(embedding[None], size=x.shape[2:], mode="bicubic", align_corners=False)[0]
        for j in range(depth):
            name = f"layers.{i}.{j}"

            def mlp(x: Tensor, name: str = name) -> Tensor:
                return _pointwise(_gelu(_pointwise(x, state, f"{name}.mlp.fc1")), state, f"{name}.mlp.fc2")

            if post:
                gamma1, gamma2 = state[f"{name}.gamma1"][:, None, None], state[f"{name}.gamma2"][:, None, None]
                x = x + gamma1 * _norm(_hco(x, state, f"{name}.op", embedding), state, f"{name}.norm1", 1e-6)
                x = x + gamma2 * _norm(mlp(x), state, f"{name}.norm2", 1e-6)
            else:
                x = x + _hco(_norm(x, state, f"{name}.norm1", 1e-6), state, f"{name}.op", embedding)
                x = x + mlp(_norm(x, state, f"{name}.norm2", 1e-6))
        features.append(x)
        if i < 3:
            x = _norm(conv(x, f"layers.{i}.{depth}.0"), state, f"layers.{i}.{depth}.1", 1e-5)
    pooled = _norm(x, state, "classifier.0", 1e-5).mean((2, 3))
    return features, pooled @ state["classifier.3.weight"].T + state["classifier.3.bias"]


def _relative_error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("size", [(64, 64), (96, 70)], ids=["stored", "bicubic"])
@pytest.mark.parametrize("post", [False, True], ids=["pre-norm", "post-norm"])
def test_equals_a_second_implementation(post, size, official, make_net, tmp_path):
    state = official(post=post)
    torch.save({"model": state}, tmp_path / "official.pth")
    net = make_net(post=post).double().eval()
    backbones.load_checkpoint(net, tmp_path / "official.pth")
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    features, logits = _reference(state, x, (1, 2, 2, 1), post)
    with torch.no_grad():
        assert _relative_error(net(x), logits) < 1e-10
        for ours, theirs in zip(net.forward_intermediates(x, intermediates_only=True), features, strict=True):
            assert _relative_error(ours, theirs) < 1e-10


def test_precomputed_file_equals_a_second_implementation(official, make_net, tmp_path):
    state = official(precomputed=True, post=True)
    torch.save({"model": state}, tmp_path / "official.pth")
    net = make_net(post=True).double().eval()
    backbones.load_checkpoint(net, tmp_path / "official.pth")
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert _relative_error(net(x), _reference(state, x, (1, 2, 2, 1), True)[1]) < 1e-10


def test_the_comparison_sees_a_swap_of_value_and_gate(official, make_net, tmp_path):
    state = official()
    torch.save({"model": state}, tmp_path / "official.pth")
    net = make_net().double().eval()
    backbones.load_checkpoint(net, tmp_path / "official.pth")
    mixer = net.stages[2].blocks[1].mixer
    mixer.value, mixer.gate = mixer.gate, mixer.value
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert _relative_error(net(x), _reference(state, x, (1, 2, 2, 1), False)[1]) > 1e-3


# -- entry points -----------------------------------------------------------------------------------------------------


def test_every_size_is_registered_with_timm():
    assert sorted(timm.list_models("vheat_*")) == sorted(f"vheat_{arch}" for arch in backbones.ARCHS)
    model = timm.create_model("vheat_nano", num_classes=5, img_size=64, drop_path_rate=0.1)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
    assert model.default_cfg["classifier"] == "head.fc" and model.default_cfg["first_conv"] == "stem.conv1"
    assert isinstance(model.get_submodule(model.default_cfg["first_conv"]), torch.nn.Conv2d)


def test_a_misspelt_argument_is_an_error():
    with pytest.raises(TypeError, match="drop_path_ratee"):
        timm.create_model("vheat_nano", drop_path_ratee=0.1)
