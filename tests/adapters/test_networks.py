"""Every kind of network: where units go, that training starts at the bare network, and that what is new trains."""

import pytest
import timm
import torch
from peft import get_peft_model
from timm.layers import DropPath

import adapters
from adapters.layer import MoPPALayer

pytestmark = pytest.mark.filterwarnings("ignore:the unit of")  # behind a class token

PLAIN = ("vit", "deit_distilled", "registers", "beit", "eva")
KINDS = (*PLAIN, "swin", "convnext", "convnext_linear", "vheat", "vheat_post_norm")
PREFIX = {"vit": 1, "deit_distilled": 2, "registers": 5, "beit": 1, "eva": 1}

NETWORK_SIZES = dict.fromkeys(("convnext", "convnext_linear", "vheat", "vheat_post_norm"), (64, 96))


@pytest.mark.parametrize("placement", ["attention", "mlp", "parallel"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_starts_at_the_bare_network(kind, placement, network, images):
    net, x = network(kind).double(), images(kind).double()  # kernels may differ in the last bit
    bare = net(x)
    config = adapters.MoPPAConfig(placement=placement, router="input", rescale=kind != "convnext", ssf=True)
    model = get_peft_model(net, config).eval()
    units = [m for m in model.modules() if isinstance(m, MoPPALayer) and "default" in m.moppa_unit]
    torch.testing.assert_close(model(x), bare, rtol=1e-12, atol=1e-12)
    assert units and not any(m.moppa_unit["default"].gate.value.any() for m in units)


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_is_exactly_the_identity_at_first(kind, network, images):
    model = get_peft_model(network(kind), adapters.MoPPAConfig()).eval()
    seen = []
    for unit in (m.moppa_unit["default"] for m in model.modules() if isinstance(m, MoPPALayer)):
        unit.register_forward_hook(lambda m, args, out: seen.append(torch.equal(args[0], out)))
    model(images(kind))
    assert seen and all(seen)


@pytest.mark.parametrize("physics", ["exact", "released"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_adapter_parameter_trains_and_nothing_else(kind, physics, adapt, images):
    img_size = NETWORK_SIZES.get(kind)
    options = {"router": "input", "rescale": kind != "convnext", "ssf": True}  # convnext_atto has no linear layers
    model = adapt(kind, physics=physics, img_size=img_size, **options).train()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert trained and all("moppa_" in n for n in trained)
    for drop in (m for m in model.modules() if isinstance(m, DropPath)):
        drop.drop_prob = 0.0  # a dropped block would not train in this step
    model(images(kind)).square().sum().backward()
    dead = [n for n, p in trained.items() if p.grad is None or not p.grad.any()]
    assert not dead
    assert all(p.grad is None for n, p in model.named_parameters() if n not in trained)


BLOCKS = {"vit": (2, {3}), "swin": (5, {1, 2, 4, 8}), "convnext": (5, {1, 5, 10}), "vheat": (6, {1, 2, 4, 8})}


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_block_gets_a_unit_with_the_networks_heads(kind, adapt):
    """Attention's heads, or groups of 32 channels: convnext_atto has 40, 80, 160 and 320."""
    units = [m.moppa_unit["default"] for m in adapt(kind).modules() if isinstance(m, MoPPALayer)]
    count, heads = BLOCKS[kind]
    assert len(units) == count and {u.router.heads for u in units} == heads


@pytest.mark.parametrize("kind", PREFIX)
def test_prefix_tokens_pass_by(kind, adapt, images):
    model = adapt(kind)
    seen = []
    layer = next(m for m in model.modules() if isinstance(m, MoPPALayer))
    layer.moppa_unit["default"].register_forward_hook(lambda m, args, out: seen.append((args[0], out)))
    model(images(kind))
    (x, y), count = seen[0], PREFIX[kind]
    assert torch.equal(x[:, :count], y[:, :count])
    assert not torch.isclose(x[:, count:], y[:, count:]).all(-1).any()


@pytest.mark.parametrize(("kind", "size"), [("convnext", (96, 64)), ("vheat", (100, 70)), ("swin", (64, 64))])
@pytest.mark.parametrize("physics", ["exact", "released"])
def test_sizes_that_change_while_running(kind, size, physics, adapt, images):
    model = adapt(kind, physics=physics, img_size=NETWORK_SIZES.get(kind))
    first = model(images(kind))
    assert model(torch.randn(1, 3, *size)).isfinite().all()
    assert torch.equal(model(images(kind)), first)


def test_a_vit_at_changing_sizes():
    """The grid follows the patch embedding from call to call; the same tokens in another shape differ."""
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=5, dynamic_img_size=True)
    model = get_peft_model(net, adapters.MoPPAConfig(init="released")).eval()
    layer = model.base_model.model.blocks[0].norm1
    tokens = torch.randn(1, 1 + 12, 192)
    outputs = []
    for size in ((48, 64), (64, 48), (32, 96)):
        model(torch.randn(1, 3, *size))
        outputs.append(layer(tokens))
    assert not torch.allclose(outputs[0], outputs[1]) and not torch.allclose(outputs[1], outputs[2])


def test_swin_windows_are_the_grid_in_parallel(adapt, images):
    model = adapt("swin", placement="parallel")
    unit = model.base_model.model.layers[0].blocks[0].attn.moppa_unit["default"]
    assert unit.tokens.fixed == (2, 2)
    assert model(images("swin")).isfinite().all()


def test_hugging_face_vit(randomise):
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, image_size=64)
    net = ViTForImageClassification(config).eval()
    x = torch.randn(2, 3, 64, 64)
    bare = net(x).logits
    for placement in ("attention", "mlp", "parallel"):
        for physics in ("exact", "released"):
            torch.manual_seed(0)
            net = ViTForImageClassification(config).eval()
            moppa = adapters.MoPPAConfig(placement=placement, physics=physics, rescale=True, ssf=True)
            model = get_peft_model(net, moppa).eval()
            torch.testing.assert_close(model(x).logits, bare, rtol=1e-5, atol=1e-6)
            randomise(model)
            assert not torch.allclose(model(x).logits, bare, atol=1e-3)
            larger = model(pixel_values=torch.randn(1, 3, 96, 80), interpolate_pos_encoding=True).logits
            assert larger.isfinite().all()


def test_torchvision_vit(randomise):
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    net = VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=64, mlp_dim=64, num_classes=5).double().eval()
    net.heads = torch.nn.Identity()  # zero at first
    x = torch.randn(2, 3, 32, 32).double()  # kernels may differ in the last bit
    bare = net(x)
    model = get_peft_model(net, adapters.MoPPAConfig()).eval()
    torch.testing.assert_close(model(x), bare, rtol=1e-12, atol=1e-12)
    randomise(model)
    assert not torch.allclose(model(x), bare, atol=1e-3)


def test_named_modules(adapt):
    model = adapt("vit", target_modules=["blocks.1.norm1", "blocks.0.mlp.fc1"])
    assert model.base_model.targeted_module_names == ["blocks.0.mlp.fc1", "blocks.1.norm1"]
    assert model(torch.randn(1, 3, 64, 64)).isfinite().all()
    model = adapt("vit", target_modules=r"blocks\.\d+\.attn\.proj", exclude_modules=["blocks.0.attn.proj"])
    assert model.base_model.targeted_module_names == ["blocks.1.attn.proj"]


def test_a_network_of_ones_own():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.LayerNorm(16))
    model = get_peft_model(net, adapters.MoPPAConfig(target_modules=["0"], num_heads=1))
    assert model(torch.randn(2, 3, 8, 16)).shape == (2, 32, 8, 16)  # 3 channels: one head
    net = torch.nn.Sequential(torch.nn.LayerNorm(16))
    with pytest.raises(ValueError, match="cannot tell the layout of the input of 0, a LayerNorm: give layout="):
        get_peft_model(net, adapters.MoPPAConfig(target_modules=["0"]))
    model = get_peft_model(net, adapters.MoPPAConfig(target_modules=["0"], layout="NHWC"))
    assert model(torch.randn(2, 4, 6, 16)).shape == (2, 4, 6, 16)
