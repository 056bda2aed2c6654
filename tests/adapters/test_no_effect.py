"""Nothing is ignored in silence: what looks trainable gets gradients, and what would have no effect is refused."""

import copy
import warnings

import pytest
import timm
import torch
from peft import PeftModel, get_peft_model, inject_adapter_in_model
from peft.utils import get_peft_model_state_dict
from peft.utils.hotswap import hotswap_adapter

import adapters


def _learning(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def _without_gradient(model, x):
    """What requires a gradient and gets none."""
    model.zero_grad()
    y = model.train()(x)
    sum(t.square().sum() for t in (y if isinstance(y, (list, tuple)) else [y])).backward()
    return {n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}


# -- states in which something looks trainable ------------------------------------------------------------------------


def test_several_active_adapters(adapt, images, randomise):
    model = adapt("vit", physics="released")
    model.add_adapter("second", adapters.MoPPAConfig(physics="released", rescale=True, ssf=True, router="input"))
    randomise(model)
    model.base_model.set_adapter(["default", "second"])
    assert any("shared.default" in n for n in _learning(model)) and any("shared.second" in n for n in _learning(model))
    assert not _without_gradient(model, images("vit"))


def test_disabled_adapters(adapt, images):
    model = adapt("vit", physics="released", rescale=True)
    learning = _learning(model)
    model.base_model.disable_adapter_layers()
    assert not _learning(model)
    model.base_model.enable_adapter_layers()
    assert _learning(model) == learning and any("moppa_shared" in n for n in learning)
    with model.disable_adapter():
        assert not _learning(model)
    assert _learning(model) == learning


def test_merged_adapters(adapt, images):
    """What is merged keeps what it is set to, and says in training that it gets no gradient."""
    model = adapt("vit", priors=(), rescale=True, ssf=True, modules_to_save=["head"]).train()
    learning, x = _learning(model), images("vit")
    model.merge_adapter()
    with pytest.warns(UserWarning, match="adapter 'default' is merged, and so gets no gradients in training"):
        model(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.eval()(x)
        with torch.no_grad():
            model.train()(x)
    twin = copy.deepcopy(model)
    for each in (model, twin):
        each.unmerge_adapter()
        assert _learning(each) == learning and not _without_gradient(each, x)
    model.merge_adapter()
    with model.disable_adapter():
        model(x)
        assert not any("moppa" in n for n in _learning(model))
    assert _learning(model) == learning


@pytest.mark.parametrize("freeze", [lambda m: m.requires_grad_(False), lambda m: m.set_requires_grad("default", False)])
def test_what_is_frozen_while_it_is_merged_stays_frozen(adapt, images, freeze):
    model = adapt("vit", priors=(), rescale=True, ssf=True)
    model.merge_adapter()
    freeze(model)
    model.train()(images("vit"))
    model.unmerge_adapter()
    assert not _learning(model)


@pytest.mark.filterwarnings("ignore:the unit of")
def test_modules_that_another_adapter_saves(adapt, images, randomise):
    model = adapt("vit", modules_to_save=["head"])
    model.add_adapter("second", adapters.MoPPAConfig(modules_to_save=["head"], rescale=True))
    model.set_adapter("second")
    randomise(model)
    assert not any(".default." in n for n in _learning(model))
    assert not _without_gradient(model, images("vit"))


@pytest.mark.parametrize("router", ["static", "input"])
def test_the_route_of_a_single_prior_does_not_learn(router, network, images, randomise):
    model = get_peft_model(network("vit"), adapters.MoPPAConfig(priors=("heat",)))
    model.add_adapter("second", adapters.MoPPAConfig(priors=("wave", "heat"), router=router))
    randomise(model)
    for change in (
        lambda: None,
        lambda: model.set_adapter("second"),
        lambda: model.base_model.set_adapter(["default", "second"]),
        lambda: model.set_requires_grad("default"),
        model.base_model.disable_adapter_layers,
        model.base_model.enable_adapter_layers,
    ):
        change()
        assert not any("router" in n and ".default." in n for n in _learning(model))
    assert any("router" in n for n in _learning(model))
    assert not _without_gradient(model, images("vit"))


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto", "vheat_nano"]
)
def test_features_of_the_first_stages(name, randomise):
    small = {
        "vit_tiny_patch16_224": {"img_size": 64, "depth": 3},
        "swin_tiny_patch4_window7_224": {
            "img_size": 64,
            "embed_dim": 32,
            "depths": (1, 1, 1, 1),
            "num_heads": (1, 2, 4, 8),
            "window_size": 2,
        },
        "convnext_atto": {"depths": (1, 1, 1, 1)},
    }
    net = timm.create_model(name, features_only=True, out_indices=(0, 1), **small.get(name, {}))
    model = get_peft_model(net, adapters.MoPPAConfig(ssf=True))
    randomise(model)
    assert not _without_gradient(model, torch.randn(1, 3, 64, 64))


def test_a_pruned_network(network, images, randomise):
    net = network("vit")
    net.prune_intermediate_layers([0], prune_norm=True, prune_head=True)
    model = get_peft_model(net, adapters.MoPPAConfig(ssf=True, rescale=True))
    randomise(model)
    assert not _without_gradient(model, images("vit"))


@pytest.mark.parametrize("kind", ["timm", "torchvision", "transformers"])
@pytest.mark.parametrize("placement", ["mlp", "parallel"])
def test_units_behind_the_last_mixer_of_a_class_token(kind, placement, randomise):
    net, last = _classifier(kind)
    with pytest.warns(UserWarning, match=rf"the unit of {last}.* trains without effect .* exclude_modules=") as caught:
        get_peft_model(copy.deepcopy(net), adapters.MoPPAConfig(placement=placement))
    name = str(caught[0].message).split("exclude_modules=['")[1].split("']")[0]
    model = get_peft_model(net, adapters.MoPPAConfig(placement=placement, exclude_modules=[name]))  # without a warning
    randomise(model)
    x = torch.randn(2, 3, 32, 32)
    y = model(x)
    getattr(y, "logits", y).square().sum().backward()
    assert all(p.grad.any() for p in model.parameters() if p.requires_grad)


def _classifier(kind):
    torch.manual_seed(0)
    if kind == "timm":
        sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "depth": 2}
        return timm.create_model("vit_tiny_patch16_224", num_classes=3, **sizes), r"blocks\.1\."
    if kind == "torchvision":
        from torchvision.models import VisionTransformer

        net = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=32, num_classes=3)
        torch.nn.init.normal_(net.heads.head.weight)
        return net, r"encoder\.layers\.encoder_layer_1\."
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 32, "intermediate_size": 32, "image_size": 32, "patch_size": 8}
    return ViTForImageClassification(ViTConfig(num_hidden_layers=2, num_attention_heads=2, **sizes)), r"vit\..*1\."


def test_pooled_tokens_have_no_such_units(randomise):
    net = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=3, global_pool="avg")
    model = get_peft_model(net, adapters.MoPPAConfig(placement="mlp"))
    randomise(model)
    assert not _without_gradient(model, torch.randn(1, 3, 64, 64))


# -- options without effect -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"priors": ("identity",)}, r"\('identity',\) before a layer changes nothing"),
        ({"priors": ("heat",), "route_weight": 0.1}, "route_weight=0.1 would have no effect, it needs two priors"),
        ({"priors": ("heat",), "router": "input"}, "router='input' would have no effect, it needs two priors"),
        ({"priors": (), "ssf": True, "scale": 2.0}, "scale=2.0 would have no effect, it needs priors"),
        ({"priors": (), "ssf": True, "target_modules": ["norm1"]}, r"target_modules=\['norm1'\] would have no effect"),
        ({"priors": (), "ssf": True, "physics": "released"}, "physics='released' would have no effect"),
        ({"priors": (), "rank": 1, "init": "released"}, "init='released' would have no effect"),
    ],
)
def test_options_that_change_nothing(options, message):
    with pytest.raises(ValueError, match=message):
        adapters.MoPPAConfig(**options)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("vit", {"modules_to_save": ["haed"]}, r"modules_to_save: \['haed'\] match no module .* 'head'\]"),
        ("vit", {"router": "input", "num_heads": 192}, "router='input' sees nothing of heads of one channel"),
        (
            "vit",
            {"target_modules": ["norm1"], "layout": "NHWC"},
            "layout='NHWC' would have no effect on blocks.0.norm1",
        ),
        ("swin", {"num_prefix_tokens": 1}, "num_prefix_tokens=1 would have no effect: units take maps here"),
        ("convnext", {"rescale": True}, "rescale=True finds no linear layer"),
        ("convnext", {"rank": 2}, "rank=2 finds no linear layer"),
        ("vit", {"ssf": True, "exclude_modules": r".*(norm2|norm|proj)"}, "ssf=True finds no norm"),
    ],
)
def test_options_that_change_nothing_in_this_network(kind, options, message, network):
    net = network(kind)
    before = {name: type(m) for name, m in net.named_modules()}
    with pytest.raises(ValueError, match=message):
        get_peft_model(net, adapters.MoPPAConfig(**options))
    assert {name: type(m) for name, m in net.named_modules()} == before


# -- arguments of PEFT ------------------------------------------------------------------------------------------------


def test_adapters_in_half_precision(network, images):
    """Float32 in a network of half precision, unless PEFT is told not to cast."""
    config = adapters.MoPPAConfig(physics="released", rescale=True)
    for cast, dtype in ((True, torch.float32), (False, torch.bfloat16)):
        model = get_peft_model(network("vit").bfloat16(), config, autocast_adapter_dtype=cast)
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {dtype}
        assert model(images("vit").bfloat16()).isfinite().all()
        model.add_adapter("second", config, autocast_adapter_dtype=cast)
        assert {p.dtype for n, p in model.named_parameters() if "second" in n} == {dtype}


def test_names_of_adapters_that_are_not_there(adapt):
    model = adapt("vit", priors=(), ssf=True)
    for call in (
        lambda: model.base_model.set_adapter(["nope"]),
        lambda: model.set_requires_grad("nope"),
        lambda: model.merge_adapter(adapter_names=["nope"]),
        lambda: model.merge_and_unload(adapter_names=["nope"]),
    ):
        with pytest.raises(ValueError, match="there is no adapter nope; there are default"):
            call()


def test_status_of_the_model(adapt):
    model = adapt("vit", physics="released", rescale=True)
    status = model.get_model_status()
    assert status.trainable_params == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert status.num_adapter_layers == len(model.get_layer_status()) == 2 * 5
    model.base_model.disable_adapter_layers()
    assert not model.get_model_status().enabled


def test_inference_mode(adapt, network, tmp_path):
    assert not _learning(adapt("vit", physics="released", inference_mode=True))
    adapt("vit", physics="released").save_pretrained(tmp_path)
    assert not _learning(PeftModel.from_pretrained(network("vit"), tmp_path))


def test_names_of_weights_that_ask_for_other_layers(adapt, network):
    state = get_peft_model_state_dict(adapt("vit"))
    inject_adapter_in_model(adapters.MoPPAConfig(), network("vit"), state_dict=state)
    del state[next(reversed(state))]
    fewer = {key: value for key, value in state.items() if "blocks.1." not in key}
    with pytest.raises(
        ValueError, match=r"state_dict is not of this config's adapter, they differ in .*blocks\.1\.norm1"
    ):
        inject_adapter_in_model(adapters.MoPPAConfig(), network("vit"), state_dict=fewer)


def test_what_is_lora_alone_is_refused(adapt, network, tmp_path):
    model = adapt("vit")
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Hotswapping only supports LORA"):
        hotswap_adapter(model, str(tmp_path), "default")
    with pytest.raises(AttributeError, match="add_weighted_adapter"):
        model.add_weighted_adapter(["default"], [1.0], "sum")
    with pytest.raises(ValueError, match="not compatible with the `PeftMixedModel`"):
        get_peft_model(network("vit"), adapters.MoPPAConfig(), mixed=True)
    with pytest.raises(ValueError, match=r"path_initial_model_for_weight_conversion.*not supported"):
        model.save_pretrained(tmp_path / "b", path_initial_model_for_weight_conversion=str(tmp_path))
    for option in ("layers_to_transform", "rank_pattern", "bias", "target_parameters", "lora_alpha"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}'"):
            adapters.MoPPAConfig(**{option: [1]})
