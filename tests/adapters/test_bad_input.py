"""Clear errors, and nothing half done."""

import numpy as np
import pytest
import timm
import torch
from peft import get_peft_model

import adapters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"physics": "approximate"}, r"physics must be one of \('exact', 'released'\), got 'approximate'"),
        ({"priors": ("heat", "magnet")}, r"priors must be distinct names out of .*'heat'.*got \['heat', 'magnet'\]"),
        ({"priors": ("heat", "heat")}, "priors must be distinct"),
        ({"priors": ()}, "an adapter without priors needs rescale, rank, ssf or tune_physics"),
        ({"router": "learned"}, "router must be one of"),
        ({"placement": "before"}, "placement must be one of"),
        ({"init": "zero"}, "init must be one of"),
        ({"placement": "parallel", "init": "released"}, "not of 'parallel'"),
        ({"scale": -1.0}, "scale must be finite and > 0, got -1.0"),
        ({"scale": 0.0}, "scale must be finite and > 0, got 0.0"),
        ({"route_weight": -0.1}, "route_weight must be finite and >= 0, got -0.1"),
        ({"temperature": 0.04}, "temperature must be finite and >= 0.05, got 0.04"),
        ({"prior_dropout": 1.0}, r"prior_dropout must be in \[0, 1\), got 1.0"),
        ({"num_heads": 0}, "num_heads must be None or an int >= 1, got 0"),
        ({"num_prefix_tokens": -1}, "num_prefix_tokens must be None or an int >= 0, got -1"),
        ({"num_heads": 1.5}, "num_heads must be None or an int >= 1, got 1.5"),
        ({"temperature": float("nan")}, "temperature must be finite"),
        ({"scale": float("inf")}, "scale must be finite"),
        ({"img_size": (64,)}, "img_size must be None or one or two positive ints"),
        ({"img_size": 64.5}, "img_size must be None or one or two positive ints"),
        ({"rescale": "yes"}, "rescale must be one of"),
        ({"rank": -1}, "rank must be an int >= 0, got -1"),
        ({"rank": None}, "rank must be an int >= 0, got None"),
        ({"tune_physics": "heat"}, "tune_physics must be one of"),
        ({"target_modules": "norm("}, "target_modules must be a valid regular expression"),
        ({"grid_resize": "nearest"}, "grid_resize must be one of"),
        ({"layout": "BCHW"}, "layout must be one of"),
        ({"target_modules": []}, "target_modules must be 'auto', names or a regular expression"),
    ],
)
def test_configs(options, message):
    with pytest.raises(ValueError, match=message):
        adapters.MoPPAConfig(**options)


def test_arguments_of_another_type():
    for options, name in (
        ({"priors": "heat"}, "priors"),
        ({"priors": None}, "priors"),
        ({"scale": "1"}, "scale"),
        ({"modules_to_save": "head"}, "modules_to_save"),
    ):
        with pytest.raises(TypeError, match=f"{name} must be "):
            adapters.MoPPAConfig(**options)


@pytest.mark.parametrize("name", ["a.b", "items"])
def test_names_that_cannot_be(name, network):
    net = network("vit")
    with pytest.raises(ValueError, match="adapter_name must be a name without dots"):
        get_peft_model(net, adapters.MoPPAConfig(), adapter_name=name)
    assert not any(m._forward_hooks for m in net.modules()) and "moppa" not in repr(net)


def test_unknown_arguments():
    with pytest.raises(TypeError, match="unexpected keyword argument 'prior'"):
        adapters.MoPPAConfig(prior=("heat",))


def test_no_matching_target_lists_candidates(network):
    net = network("vit")
    names = [n for n, _ in net.named_modules()]
    with pytest.raises(ValueError, match=r"\['norm9'\] match no module of this network; candidates: blocks\.0\.norm1"):
        get_peft_model(net, adapters.MoPPAConfig(target_modules=["norm1", "norm9"]))
    with pytest.raises(ValueError, match=r"leaves out every module"):
        get_peft_model(net, adapters.MoPPAConfig(exclude_modules=["norm1"]))
    with pytest.raises(ValueError, match="num_heads=5 does not divide the 192 channels"):
        get_peft_model(net, adapters.MoPPAConfig(num_heads=5))
    assert [n for n, _ in net.named_modules()] == names


def test_a_layer_that_is_read_but_never_called(network):
    net = network("beit")
    calls = []
    net.blocks[0].attn.qkv.register_forward_hook(lambda *_: calls.append(1))
    net(torch.randn(1, 3, 64, 64))
    assert not calls
    with pytest.raises(ValueError, match=r"reads the weight of blocks\.0\.attn\.qkv .* adapt blocks\.0\.attn instead"):
        get_peft_model(net, adapters.MoPPAConfig(target_modules=["attn.qkv"]))
    get_peft_model(net, adapters.MoPPAConfig(target_modules=["attn"]))  # as the message says
    attention = torch.nn.Sequential(torch.nn.TransformerEncoderLayer(32, 2, 64))
    with pytest.raises(ValueError, match=r"a MultiheadAttention, reads the weight of 0\.self_attn\.out_proj"):
        get_peft_model(attention, adapters.MoPPAConfig(target_modules=["out_proj"]))
    for child in ("linear1", "norm1"):
        options = {"target_modules": [child], "layout": "tokens", "num_prefix_tokens": 0}
        with pytest.raises(ValueError, match=rf"computes everything at once in eval mode, without calling 0\.{child}"):
            get_peft_model(attention, adapters.MoPPAConfig(**options))
    names = {"attention": "norm1", "mlp": "norm2", "parallel": "self_attn", "inputs": (4, 4)}
    adapters.register_block(torch.nn.TransformerEncoderLayer, adapters.Block(**names, linears=("linear1",)))
    try:
        with pytest.raises(ValueError, match=r"without calling 0\.norm2, so scales and shifts .* in exclude_modules"):
            get_peft_model(attention, adapters.MoPPAConfig(priors=(), ssf=True))
        with pytest.raises(ValueError, match="ssf=True finds no norm"):  # there is no other one
            get_peft_model(attention, adapters.MoPPAConfig(priors=(), ssf=True, exclude_modules=["norm2"]))
    finally:
        del adapters.BLOCKS[torch.nn.TransformerEncoderLayer]
    vit = network("vit")  # calls its own
    get_peft_model(vit, adapters.MoPPAConfig(target_modules=["attn.qkv"]))


def test_a_network_it_does_not_know():
    net = torch.nn.Sequential(torch.nn.Linear(4, 4))
    with pytest.raises(ValueError, match="found no block it knows; name modules instead, out of 0"):
        get_peft_model(net, adapters.MoPPAConfig())


def test_a_token_count_that_does_not_match_the_grid(adapt):
    model = adapt("vit")
    unit = model.base_model.model.blocks[0].norm1.moppa_unit["default"]
    with pytest.raises(ValueError, match="the token grid is not known"):
        unit(torch.randn(1, 17, 192))
    model(torch.randn(1, 3, 64, 64))
    with pytest.raises(ValueError, match=r"1 prefix tokens and a grid of 4 x 4, got \(1, 16, 192\)"):
        unit(torch.randn(1, 16, 192))
    with pytest.raises(ValueError, match="2 prefix tokens"):
        adapt("vit", num_prefix_tokens=2)(torch.randn(1, 3, 64, 64))


def test_dropped_patches_are_not_guessed_at():
    net = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1, patch_drop_rate=0.5)
    model = get_peft_model(net, adapters.MoPPAConfig()).train()
    with pytest.raises(ValueError, match="expected tokens of shape"):
        model(torch.randn(1, 3, 64, 64))


def test_released_physics_needs_an_image_size():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3), torch.nn.Conv2d(32, 32, 3))
    with pytest.raises(ValueError, match="give img_size"):
        get_peft_model(net, adapters.MoPPAConfig(target_modules=["1"], physics="released"))
    model = get_peft_model(net, adapters.MoPPAConfig(target_modules=["1"], physics="released", img_size=[16, 20]))
    assert list(model.base_model.moppa_shared["default"]) == ["14x18x1"]


def test_released_physics_asks_a_network_of_several_stems_for_its_channels():
    net = timm.create_model("rs_vheat_nano", img_size=64, num_classes=3)
    model = get_peft_model(net, adapters.MoPPAConfig(physics="released", img_size=64)).eval()
    assert model({"optical": torch.full((1, 3, 64, 64), 90.0)}).isfinite().all()


def test_functions_on_a_bare_network(network):
    net = network("vit")
    for call in (
        lambda: adapters.route_regularization(net),
        lambda: adapters.RouteSchedule(net, 10),
        lambda: adapters.routes(net),
        lambda: adapters.precompute(net, torch.randn(1, 3, 64, 64)),
    ):
        with pytest.raises(ValueError, match="no MoPPA adapter"):
            call()


def test_numbers_of_numpy_are_numbers_and_can_be_saved(tmp_path):
    config = adapters.MoPPAConfig(
        temperature=np.float32(2), scale=np.float64(0.5), num_heads=np.int64(3), physics="released",
        img_size=[np.int64(32), np.int32(64)],
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    again = adapters.MoPPAConfig.from_pretrained(tmp_path)
    assert (again.temperature, again.scale, again.num_heads, again.img_size) == (2.0, 0.5, 3, (32, 64))
