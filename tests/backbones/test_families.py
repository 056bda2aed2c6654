"""The relatives: registered everywhere, their operators as stated, trainable, precomputed where that is possible."""

from __future__ import annotations

import copy
import sys

import pytest
import timm
import torch
from mmengine.registry import MODELS
from torch import nn

import backbones
import backbones.openmmlab
from spectral_ops import FractionalHeat, Heat, Identity, Poisson, SpectralOperator, Wave

every = pytest.mark.parametrize("name", backbones.FAMILIES)


def randomised(name: str, **options) -> nn.Module:
    torch.manual_seed(0)
    net = timm.create_model(f"{name}_nano", img_size=64, num_classes=5, **options)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net


@every
def test_every_size_is_a_model_of_timm_and_a_function(name):
    for arch, spec in backbones.ARCHS.items():
        with torch.device("meta"):
            net = timm.create_model(f"{name}_{arch}")
        assert [len(stage.blocks) for stage in net.stages] == list(spec["depths"])
        assert isinstance(net.stages[0].blocks[0].mixer.operator, SpectralOperator)
        build = getattr(sys.modules["backbones.families"], f"{name}_{arch}")
        assert build.__doc__.startswith(backbones.FAMILIES[name].title)
        assert net.pretrained_cfg["paper_ids"] == backbones.FAMILIES[name].source
    assert timm.is_model(f"{name}_tiny")


@every
def test_openmmlab_gives_the_same_maps(name):
    dense = MODELS.build(dict(type=backbones.FAMILIES[name].title, arch="nano", img_size=64))
    net = randomised(name)
    missing, unexpected = dense.load_state_dict(net.state_dict(), strict=False)
    assert all(n.startswith("out_norms.") for n in missing)
    assert all(n.startswith(("norm.", "head.")) for n in unexpected)
    x = torch.randn(2, 3, 64, 96)
    for found, raw in zip(dense(x), net.forward_stages(x), strict=True):
        expected = nn.functional.layer_norm(raw, raw.shape[-1:], eps=1e-5).permute(0, 3, 1, 2)
        torch.testing.assert_close(found, expected)
        assert found.is_contiguous()


def test_operators_are_the_equations():
    torch.manual_seed(0)
    x, embedding = torch.randn(2, 6, 7, 4), torch.rand(6, 7, 4)
    built = {name: family.operator(4) for name, family in backbones.FAMILIES.items()}
    for operator in built.values():
        for parameter in operator.parameters():
            nn.init.normal_(parameter)
    grid = {"dims": (1, 2)}
    soft = nn.functional.softplus
    with torch.no_grad():
        wave = built["vwave"]
        expected = Wave(soft(wave.speed.raw), 1.0, soft(wave.damping.raw), **grid)(x)
        torch.testing.assert_close(wave(x), expected)
        poisson = built["vpoisson"]
        torch.testing.assert_close(poisson(x), Poisson(0.05 + 19.95 * torch.sigmoid(poisson.screening.raw), **grid)(x))

        def k(part):
            return torch.relu(embedding @ part.diffusivity.linear.weight.T + part.diffusivity.linear.bias)

        tail = built["vtail_static"]
        share = torch.sigmoid(tail.weights.logits[0] - tail.weights.logits[1])
        heat, cauchy = (
            Heat(k(tail.terms[0]), **grid)(x),
            FractionalHeat(k(tail.terms[1]), 0.5, **grid)(x),
        )
        torch.testing.assert_close(tail(x, embedding=embedding), share * heat + (1 - share) * cauchy)
        tail = built["vtail"]
        router = tail.weights
        hidden = torch.relu(x.mean((1, 2)) @ router.hidden.weight.T + router.hidden.bias)
        gate = torch.sigmoid(hidden @ router.output.weight.T + router.output.bias)[:, None, None]
        heat, cauchy = (
            Heat(k(tail.terms[0]), **grid)(x),
            FractionalHeat(k(tail.terms[1]), 0.5, **grid)(x),
        )
        torch.testing.assert_close(tail(x, embedding=embedding), gate * heat + (1 - gate) * cauchy)
        mix = built["vmix"]
        w = torch.softmax(mix.weights.logits, 0)
        parts = (
            Heat(k(mix.terms[0]), **grid)(x),
            Wave(soft(mix.terms[1].speed.raw), 1.0, soft(mix.terms[1].damping.raw), **grid)(x),
            Poisson(0.05 + 19.95 * torch.sigmoid(mix.terms[2].screening.raw), **grid)(x),
        )
        torch.testing.assert_close(mix(x, embedding=embedding), sum(a * b for a, b in zip(w, parts, strict=True)))


@every
def test_every_parameter_is_trained(name):
    net = randomised(name).train()
    net(torch.randn(2, 3, 64, 96)).square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@every
def test_the_operator_matters(name):
    net, x = randomised(name).eval(), torch.randn(2, 3, 64, 64)
    other = copy.deepcopy(net)
    for stage in other.stages:
        for block in stage.blocks:
            block.mixer.operator = Identity(dims=(1, 2))
    assert not torch.allclose(net(x), other(x), rtol=1e-2, atol=1e-2)


@every
def test_precomputing_is_exact_or_refused(name):
    net, x = randomised(name).eval(), torch.randn(2, 3, 64, 96)
    before, names = net(x), set(net.state_dict())
    if name == "vtail":
        with pytest.raises(ValueError, match="depends on the input and cannot be precomputed"):
            net.reparameterize([(64, 96)])
    else:
        net.reparameterize([(64, 96)])
        torch.testing.assert_close(net(x), before)
        net.unreparameterize()
    assert set(net.state_dict()) == names and torch.equal(net(x), before)


def test_weights_of_mixtures_are_not_decayed():
    net = timm.create_model("vmix_nano")
    logits = {n for n, p in net.named_parameters() if p.ndim > 1 and n.endswith("logits")}
    assert len(logits) == 6 and net.no_weight_decay() == logits
    assert not timm.create_model("vheat_nano").no_weight_decay()


def test_a_backbone_of_ones_own_in_openmmlab():
    class Own(backbones.openmmlab.DenseSpectralNet):
        operator = staticmethod(lambda channels: FractionalHeat(0.3, 0.5, dims=(1, 2)))

    net = Own("nano", img_size=64)
    assert tuple(net(torch.randn(1, 3, 64, 64))[0].shape[1:]) == (32, 16, 16)
    assert isinstance(net.stages[0].blocks[0].mixer.operator, FractionalHeat)
    with pytest.raises(TypeError, match="DenseSpectralNet has no operator of its own"):
        backbones.openmmlab.DenseSpectralNet("nano")


def test_an_embedding_for_a_quantity_of_ones_own():
    class FromCosines(nn.Module):
        needs_embedding = True

        def __init__(self, channels):
            super().__init__()
            self.linear = nn.Linear(channels, channels)

        def forward(self, grid):
            return nn.functional.softplus(self.linear(grid.embedding.to(grid.dtype)))

    net = backbones.SpectralNet(
        lambda channels: Heat(FromCosines(channels), dims=(1, 2)), dims=(8, 16), depths=(1, 1), num_classes=3
    )
    assert net(torch.randn(1, 3, 64, 96)).shape == (1, 3)
