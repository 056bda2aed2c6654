"""What is trained beside units: weights against a dense restatement, and a network's own physics."""

import copy

import pytest
import timm
import torch
from peft import PeftModel, get_peft_model
from torch import nn
from torch.nn import functional as F

import adapters
from adapters.affine import Change, changed, changed_by_calls
from adapters.layer import MoPPALayer

# -- changed weights --------------------------------------------------------------------------------------------------


def _dense(weight, part):
    """W' element by element."""
    weight = weight.detach().clone()
    (row, column, up, down), _ = part()
    rows = len(row if row is not None else up)
    for i in range(rows):
        for j in range(weight.shape[1]):
            value = weight[len(weight) - rows + i, j].clone()
            if row is not None:
                value = value * (1 + row[i] * column[j])
            if up is not None:
                value = value + sum(up[i, k] * down[k, j] for k in range(up.shape[1]))
            weight[len(weight) - rows + i, j] = value
    return weight


@pytest.mark.parametrize("options", [{"rescale": True}, {"rank": 3}, {"rescale": True, "rank": 3}])
@torch.no_grad()
def test_a_fused_qkv_against_its_definition(options, randomise):
    torch.manual_seed(0)
    block = nn.ModuleDict({"qkv": nn.Linear(6, 18), "norm": nn.LayerNorm(6), "mlp": nn.Linear(6, 6)})
    names = {"attention": "norm", "mlp": "norm", "parallel": "norm", "linears": ("qkv",)}
    adapters.register_block(nn.ModuleDict, adapters.Block(**names, inputs="NHWC"))
    try:
        net = get_peft_model(nn.Sequential(block), adapters.MoPPAConfig(priors=(), **options))
    finally:
        del adapters.BLOCKS[nn.ModuleDict]
    layer = net.base_model.model[0]["qkv"]
    part, base, x = layer.moppa_rescale["default"], layer.base_layer, torch.randn(4, 6)
    assert torch.equal(layer(x), base(x))  # at the start
    randomise(net)
    shift = 0 if part.shift is None else F.pad(part.shift, (12, 0))
    torch.testing.assert_close(layer(x), F.linear(x, _dense(base.weight, part), base.bias + shift))
    assert torch.equal(layer.weight[:12], base.weight[:12]) and not torch.equal(layer.weight[12:], base.weight[12:])


def test_changes_one_after_the_other_by_calls_of_the_layer():
    torch.manual_seed(0)
    layer, x = nn.Linear(5, 7).double(), torch.randn(3, 5, dtype=torch.float64)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64)  # noqa: E731
    changes = [
        Change(draw(7), draw(5), draw(7, 2), draw(2, 5)),
        Change(None, None, draw(4, 1), draw(1, 5)),
        Change(draw(3), draw(5), None, None),
    ]
    weight = layer.weight
    for change in changes:
        weight = changed(weight, change)
    expected = F.linear(x, weight, layer.bias)
    torch.testing.assert_close(changed_by_calls(layer, x, changes), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["vit", "beit", "swin", "convnext_linear", "vheat"])
def test_rank_adds_what_lora_would(kind, adapt, images):
    model = adapt(kind, priors=(), rank=2)
    layers = [m for m in model.modules() if isinstance(m, MoPPALayer)]
    numbers = sum(2 * (part.up.shape[0] + part.down.shape[1]) for m in layers for part in m.moppa_rescale.values())
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == numbers
    bare = copy.deepcopy(model).unload()
    for name, layer in zip(_adapted(model), layers, strict=True):
        part = layer.moppa_rescale["default"]
        with torch.no_grad():
            bare.get_submodule(name).weight[-len(part.up) :] += part.up @ part.down
    torch.testing.assert_close(model(images(kind)), bare(images(kind)), rtol=1e-4, atol=1e-4)


def _adapted(model):
    return [n.removeprefix("base_model.model.") for n, m in model.named_modules() if isinstance(m, MoPPALayer)]


# -- a network's own physics ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vheat", "vheat_post_norm"])
def test_factors_are_those_of_the_diffusivity(kind, network, images, randomise):
    x = images(kind)
    bare = network(kind)
    model = get_peft_model(network(kind), adapters.MoPPAConfig(priors=(), tune_physics=True)).eval()
    assert torch.equal(model(x), bare(x))  # at the start, exactly
    randomise(model)
    layers = [m for m in model.modules() if isinstance(m, MoPPALayer)]
    blocks = [m for m in bare.modules() if hasattr(m, "mixer")]
    assert len(layers) == len(blocks)
    for layer, block in zip(layers, blocks, strict=True):  # relu(a W E + a b) = a relu(W E + b)
        factor = layer.moppa_physics["default"].log.detach().exp()
        linear = block.mixer.operator.diffusivity.linear
        with torch.no_grad():
            linear.weight.mul_(factor[:, None])
            linear.bias.mul_(factor)
    torch.testing.assert_close(model(x), bare(x), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(model(x), network(kind)(x), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "quantities"),
    [
        ({}, ["diffusivity"]),
        ({"operator": {"type": "heat", "per_axis": True}}, ["diffusivity.0", "diffusivity.1"]),
        ({"operator": {"type": "heat", "diffusivity": "free"}}, ["diffusivity"]),
        ({"operator": "wave"}, ["damping", "speed"]),
        ({"operator": "poisson"}, ["screening"]),
        ({"operator": "tail"}, ["operators.0.diffusivity", "operators.1.diffusivity"]),
    ],
)
def test_which_quantities_are_scaled(options, quantities, images):
    config = adapters.MoPPAConfig(priors=(), tune_physics=True)
    model = get_peft_model(timm.create_model("vheat_nano", num_classes=5, **options), config).train()
    first = "base_model.model.stages.0.blocks.0.mixer.operator."
    found = sorted(n.removeprefix(first) for n, m in model.named_modules() if isinstance(m, MoPPALayer) and first in n)
    if options.get("operator") == "tail":
        assert len(found) == 2 and all(name.endswith("diffusivity") for name in found)
    else:
        assert found == quantities
    model(images("vheat")).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for n, p in model.named_parameters() if p.requires_grad)


def test_precomputed_gains_have_the_factors_in_them(network, images, randomise):
    x = images("vheat")
    model = get_peft_model(network("vheat"), adapters.MoPPAConfig(priors=(), tune_physics=True)).eval()
    randomise(model)
    expected = model(x)
    net = model.base_model.model
    with torch.no_grad():
        asked = []
        layers = [m for m in model.modules() if isinstance(m, MoPPALayer)]
        for layer in layers:
            layer.register_forward_hook(lambda *_: asked.append(1))
        net.reparameterize([tuple(x.shape[-2:])])
        asked.clear()
        torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)
        assert not asked  # the physics is not computed
        layers[0].moppa_physics["default"].log += 1.0
        assert not torch.allclose(model(x), expected, atol=1e-4) and asked


def test_a_file_needs_the_physics_where_it_is(adapt, network, images, tmp_path):
    model = adapt("vheat", priors=(), tune_physics=True)
    net = model.base_model.model
    expected = model(images("vheat"))
    net.reparameterize([64])
    model.save_pretrained(tmp_path)  # gains are stored, and the physics is there
    again = PeftModel.from_pretrained(network("vheat"), str(tmp_path)).eval()
    assert torch.equal(again(images("vheat")), expected)
    other = adapt("vheat", priors=(), tune_physics=True)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.0 + p.requires_grad)
    other.base_model.model.reparameterize([(64, 96)])
    other.load_adapter(str(tmp_path), "default")
    torch.testing.assert_close(other.eval()(images("vheat")), expected, rtol=1e-5, atol=1e-5)
    stored = network("vheat")
    stored.reparameterize([64])
    with pytest.raises(ValueError, match=r"stages\.0\.blocks\.0\.mixer\.operator are precomputed"):
        PeftModel.from_pretrained(stored, str(tmp_path))
    net.reparameterize([64], keep_source=False)
    with pytest.raises(ValueError, match="save the adapter before the physics is dropped"):
        model.save_pretrained(tmp_path)


def test_physics_of_a_network_without_any_and_merging(network, images, adapt):
    with pytest.raises(ValueError, match="tune_physics=True finds no learned quantity of a spectral operator"):
        get_peft_model(network("vit"), adapters.MoPPAConfig(tune_physics=True))
    model = adapt("vheat", priors=(), rescale=True, tune_physics=True)
    expected = model(images("vheat"))
    for merge in (model.merge_adapter, model.merge_and_unload):
        with pytest.raises(ValueError, match="cannot be merged"):
            merge()
    assert torch.equal(model(images("vheat")), expected)
    with pytest.raises(ValueError, match="needs a gain for each sample"):
        model(images("vheat"), adapter_names=["default", "__base__"])
    bare = model.unload()
    assert torch.equal(bare(images("vheat")), network("vheat")(images("vheat")))


# -- all together, and in files ---------------------------------------------------------------------------------------

PARTS = {"rescale": True, "rank": 2, "ssf": True, "tune_physics": True}


def test_all_parts_start_as_the_network_and_come_back_from_a_file(network, images, randomise, tmp_path):
    x = images("vheat")
    bare = network("vheat")
    model = get_peft_model(network("vheat"), adapters.MoPPAConfig(**PARTS, modules_to_save=["head"])).eval()
    torch.testing.assert_close(model(x), bare(x), rtol=1e-5, atol=1e-5)
    randomise(model)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(network("vheat"), str(tmp_path), is_trainable=True).eval()
    torch.testing.assert_close(again(x), model(x), rtol=1e-5, atol=1e-5)
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert learning == {n for n, p in again.named_parameters() if p.requires_grad}
    model.train()(x).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_the_number_of_parameters_of_each_part(network):
    def count(**options):
        model = get_peft_model(network("vheat"), adapters.MoPPAConfig(**{"priors": (), **options}))
        return sum(p.numel() for p in model.parameters() if p.requires_grad)

    widths = [m.mixer.value.in_features for m in network("vheat").modules() if hasattr(m, "mixer")]
    assert count(tune_physics=True) == sum(widths)
    assert count(rank=1) == sum(2 * 2 * c + 2 * (c + 4 * c) for c in widths)  # value and output, and the MLP's two
    assert count(rescale=True, rank=1) == count(rescale=True) + count(rank=1)


def test_small_changes_count_in_half_precision(network):
    """Not rounded to the grid of the weights, where they would be lost."""
    model = get_peft_model(network("vit"), adapters.MoPPAConfig(priors=(), rank=2)).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(".up"):
                p.fill_(3e-3)
    half = model.bfloat16()
    layer = next(m for m in half.modules() if isinstance(m, MoPPALayer))
    with torch.no_grad():
        y = torch.randn(64, layer.base_layer.in_features).bfloat16()
        change = (layer(y) - layer.base_layer(y)).float()
        for part in layer.moppa_rescale.values():
            part.float()
        weight = changed(layer.base_layer.weight.float(), part()[0]) - layer.base_layer.weight.float()
    wanted = F.linear(y.float(), weight)
    assert (change - wanted).norm() < 1.2 * wanted.norm() and change.norm() > 0.3 * wanted.norm()
