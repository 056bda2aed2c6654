"""Where vHeat's k comes from, by one argument: the equation of each source, what is learned, and every entry point."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from mmengine.registry import MODELS
from torch import nn

import backbones
import backbones.openmmlab
from spectral_ops import resize_embedding

SOURCES = ["embedding", "free", "channel", "constant", 0.3]
every = pytest.mark.parametrize("diffusivity", SOURCES)


def create(diffusivity, **options) -> nn.Module:
    torch.manual_seed(0)
    net = timm.create_model("vheat_nano", img_size=64, num_classes=5, diffusivity=diffusivity, **options)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net


def written_out(diffusivity, stage, block, sizes):
    """k on a grid, from the parameters and the equations."""
    embedding = None if stage.embedding is None else resize_embedding(stage.embedding.weight, sizes)
    if diffusivity == "embedding":
        linear = block.mixer.operator.diffusivity.linear
        return (torch.einsum("nmc,dc->nmd", embedding, linear.weight) + linear.bias).clamp(min=0)
    if diffusivity == "free":
        return torch.log1p(torch.exp(embedding))
    if diffusivity == "channel":
        return torch.log1p(torch.exp(block.mixer.operator.diffusivity.raw))
    return {"constant": torch.tensor(0.5), 0.3: torch.tensor(0.3)}[diffusivity]


@every
@pytest.mark.parametrize("sizes", [(16, 16), (24, 10)], ids=["stored", "resized"])
def test_the_gain_is_that_of_the_equation(diffusivity, sizes):
    stage = create(diffusivity).stages[0]
    operator = stage.blocks[0].mixer.operator
    rows, columns = (torch.arange(n) * math.pi / n for n in sizes)
    eigenvalues = rows[:, None, None] ** 2 + columns[:, None] ** 2
    expected = torch.exp(-eigenvalues * written_out(diffusivity, stage, stage.blocks[0], sizes))
    x = torch.randn(2, *sizes, 32)
    embedding = stage.embedding(sizes) if stage.embedding is not None else None
    found = operator.gain(sizes, embedding=embedding)
    torch.testing.assert_close(found if found.ndim == 3 else found[:, :, None], expected)
    assert 0 < found.mean() < 0.9 and operator(x, embedding=embedding).shape == x.shape


@every
def test_every_source_trains(diffusivity):
    net = create(diffusivity).train()
    net(torch.randn(2, 3, 96, 64)).square().sum().backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    sources = [n for n, _ in net.named_parameters() if "embedding" in n or ".diffusivity." in n]
    kinds = {n.split("operator.")[-1] if "operator" in n else "embedding" for n in sources}
    assert (
        kinds
        == {
            "embedding": {"embedding", "diffusivity.linear.weight", "diffusivity.linear.bias"},
            "free": {"embedding"},
            "channel": {"diffusivity.raw"},
            "constant": set(),
            0.3: set(),
        }[diffusivity]
    )


def test_numbers_of_parameters():
    with torch.device("meta"):
        nets = {d: timm.create_model("vheat_tiny", diffusivity=d) for d in SOURCES}
    count = {d: sum(p.numel() for p in net.parameters()) for d, net in nets.items()}
    widths, depths = (96, 192, 384, 768), (2, 2, 6, 2)
    embeddings = sum(n * n * c for n, c in zip((56, 28, 14, 7), widths, strict=True))
    linears = sum(d * (c * c + c) for c, d in zip(widths, depths, strict=True))
    channels = sum(d * c for c, d in zip(widths, depths, strict=True))
    rest = count["constant"]
    assert count["embedding"] == 30_853_480 == rest + embeddings + linears
    assert count["free"] == rest + embeddings and count["channel"] == rest + channels and count[0.3] == rest
    assert timm.create_model("vheat_nano").state_dict().keys() == create("embedding").state_dict().keys()


def test_starting_values():
    """Fresh k blurs a little: by about one cell, but for the published source, which starts as almost the identity."""
    for diffusivity, expected in (("free", math.log(2)), ("channel", 0.5), ("constant", 0.5)):
        net = timm.create_model("vheat_nano", diffusivity=diffusivity)
        stage = net.stages[1]
        k = written_out(diffusivity, stage, stage.blocks[0], (28, 28))
        assert k.mean().item() == pytest.approx(expected, rel=1e-2)


@every
def test_precomputed(diffusivity):
    net, x = create(diffusivity).eval(), torch.randn(1, 3, 96, 64)
    expected = net(x)
    net.reparameterize([(96, 64)], keep_source=False)
    torch.testing.assert_close(net(x), expected)
    assert not [n for n, _ in net.named_parameters() if "embedding" in n or "diffusivity" in n]


@every
def test_in_openmmlab(diffusivity):
    dense = MODELS.build(dict(type="VHeat", arch="nano", img_size=64, diffusivity=diffusivity))
    net = create(diffusivity)
    assert {n for n in dense.state_dict() if "out_norms" not in n} == {
        n for n in net.state_dict() if not n.startswith(("norm.", "head."))
    }
    dense.load_state_dict(net.state_dict(), strict=False)
    for found, raw in zip(dense(torch.ones(1, 3, 64, 64)), net.forward_stages(torch.ones(1, 3, 64, 64)), strict=True):
        torch.testing.assert_close(found, nn.functional.layer_norm(raw, raw.shape[-1:]).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda d: timm.create_model("vheat_nano", diffusivity=d),
        lambda d: MODELS.build(dict(type="VHeat", arch="nano", diffusivity=d)),
        lambda d: backbones.heat_operator(8, d),
    ],
)
def test_errors(make):
    with pytest.raises(
        ValueError,
        match=r"diffusivity must be one of \('embedding', 'free', 'channel', 'constant'\) or a number, got 'fixed'",
    ):
        make("fixed")
    with pytest.raises(ValueError, match="diffusivity must be >= 0, got -1"):
        make(-1.0)
    with pytest.raises(TypeError, match="diffusivity must be"):
        make([0.5])


def test_other_families_and_misspelt_arguments():
    with pytest.raises(TypeError, match="unexpected keyword argument 'diffusivity'"):
        timm.create_model("vwave_nano", diffusivity="channel")
    with pytest.raises(TypeError, match="VWave got an unexpected keyword argument 'diffusivity'"):
        MODELS.build(dict(type="VWave", arch="nano", diffusivity="channel"))
    with pytest.raises(TypeError, match="VHeat got an unexpected keyword argument 'drop_pathrate'"):
        MODELS.build(dict(type="VHeat", arch="nano", drop_pathrate=0.1))
