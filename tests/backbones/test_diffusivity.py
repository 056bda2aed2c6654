"""Where vHeat's k comes from, by one argument: the equation of each source, what is learned, and every entry point."""

from __future__ import annotations

import functools
import math
import warnings

import onnxruntime
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


# -- one for each axis ------------------------------------------------------------------------------------------------

PER_AXIS = pytest.mark.parametrize("diffusivity", ["embedding", "channel"])


@PER_AXIS
@pytest.mark.parametrize("sizes", [(16, 16), (24, 10)], ids=["stored", "resized"])
def test_along_each_axis_the_gain_is_that_of_the_equation(diffusivity, sizes):
    stage = create(diffusivity, per_axis=True).stages[0]
    operator = stage.blocks[0].mixer.operator
    exponent = torch.zeros(*sizes, 32)
    for axis, n in enumerate(sizes):
        line = (torch.arange(n) * math.pi / n) ** 2
        quantity = operator.diffusivity[axis]
        if diffusivity == "embedding":
            embedding = resize_embedding(stage.embedding.weight, sizes)
            k = (torch.einsum("nmc,dc->nmd", embedding, quantity.linear.weight) + quantity.linear.bias).clamp(min=0)
        else:
            k = torch.log1p(torch.exp(quantity.raw))
        exponent = exponent + k * (line[:, None, None] if axis == 0 else line[:, None])
    found = operator.gain(sizes, embedding=None if stage.embedding is None else stage.embedding(sizes))
    torch.testing.assert_close(found, torch.exp(-exponent))


@PER_AXIS
def test_both_axes_learn_and_the_image_on_its_side_is_another_image(diffusivity):
    net, x = create(diffusivity, per_axis=True).train(), torch.randn(2, 3, 64, 64)
    net(x).square().sum().backward()
    learned = {n.split("operator.")[1] for n, _ in net.named_parameters() if ".diffusivity." in n}
    assert {n.split(".")[1] for n in learned} == {"0", "1"}
    assert not [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    with torch.no_grad():
        before, stage = net(x), net.stages[0].blocks[0].mixer.operator.diffusivity
        for one, other in zip(stage[0].parameters(), stage[1].parameters(), strict=True):
            one.data, other.data = other.data, one.data
        assert not torch.allclose(net(x), before)


def test_per_axis_in_every_form_of_deployment(tmp_path):
    torch.manual_seed(0)
    make = functools.partial(backbones.heat_operator, per_axis=True)
    net = backbones.SpectralNet(make, dims=(8,), depths=(1,), img_size=64, num_classes=5).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    dynamic, x, other = torch.export.Dim.DYNAMIC, torch.randn(2, 3, 64, 96), torch.randn(2, 3, 96, 64)
    program = torch.export.export(net, (x,), dynamic_shapes=({2: dynamic, 3: dynamic},)).module()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for image in (x, other):
        torch.testing.assert_close(program(image), net(image), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(compiled(image), net(image), rtol=1e-4, atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter about itself
        torch.onnx.export(net, (x,), tmp_path / "net.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), net(x).detach(), rtol=1e-3, atol=1e-3)
    expected, names = net(x), net.state_dict().keys()
    net.reparameterize([(64, 96)])
    torch.testing.assert_close(net(x), expected)
    net.unreparameterize()
    assert net.state_dict().keys() == names and torch.equal(net(x), expected)


def test_per_axis_by_every_name():
    one = create("embedding", per_axis=True)
    spec = {"type": "heat", "per_axis": True}
    dense = MODELS.build(dict(type="VHeat", arch="nano", img_size=64, per_axis=True))
    named = [
        timm.create_model(name, img_size=64, num_classes=5, operator=spec) for name in ("vheat_nano", "vwave_nano")
    ]
    for net in (*named, dense):
        assert {n for n in net.state_dict() if "operator" in n} == {n for n in one.state_dict() if "operator" in n}
    found, *others = backbones.network_like(one.state_dict()), create("embedding")
    assert found.state_dict().keys() == one.state_dict().keys() != others[0].state_dict().keys()
    found.load_state_dict(one.state_dict())


@pytest.mark.parametrize("diffusivity", ["free", "constant", 0.3])
def test_per_axis_where_nothing_is_learned_by_the_block(diffusivity):
    with pytest.raises(
        ValueError, match=rf"per_axis takes a diffusivity of 'embedding' or 'channel', got {diffusivity!r}"
    ):
        backbones.heat_operator(8, diffusivity, per_axis=True)
    with pytest.raises(TypeError, match="per_axis must be a bool, got 'no'"):
        backbones.heat_operator(8, per_axis="no")


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
        make({})
    with pytest.raises(ValueError, match=r"diffusivity must be one quantity, or one for each of the 2 .* got 1"):
        make([0.5])


def test_other_families_and_misspelt_arguments():
    with pytest.raises(TypeError, match="unexpected keyword argument 'diffusivity'"):
        timm.create_model("vwave_nano", diffusivity="channel")
    with pytest.raises(TypeError, match="VWave got an unexpected keyword argument 'diffusivity'"):
        MODELS.build(dict(type="VWave", arch="nano", diffusivity="channel"))
    with pytest.raises(TypeError, match="VHeat got an unexpected keyword argument 'drop_pathrate'"):
        MODELS.build(dict(type="VHeat", arch="nano", drop_pathrate=0.1))
