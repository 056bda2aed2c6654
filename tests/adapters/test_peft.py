"""PEFT's contract: files, several adapters, unloading, merging, other methods beside, dtypes, copies, compilers."""

import copy
import json
import subprocess
import sys
import weakref

import pytest
import timm
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, inject_adapter_in_model
from peft.helpers import disable_input_dtype_casting
from safetensors.torch import load_file
from torch import func
from torch.multiprocessing.reductions import StorageWeakRef

import adapters
from adapters.layer import MoPPALayer
from adapters.router import Router

pytestmark = pytest.mark.filterwarnings("ignore:the unit of")  # behind a class token

FORMS = {
    "exact": {},
    "released": {"physics": "released", "init": "released"},
    "everything": {"rescale": True, "ssf": True, "router": "input"},
    "rank": {"rank": 2},
}


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_saved_and_loaded_to_the_bit(form, low_cpu_mem_usage, adapt, network, images, tmp_path):
    model = adapt("vit", modules_to_save=["head"], **FORMS[form])
    with torch.no_grad():
        model.base_model.model.head.modules_to_save["default"].weight.normal_()
    expected = model(images("vit"))
    model.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    saved = load_file(tmp_path / "adapter_model.safetensors")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(t.numel() for t in saved.values()) == trained  # nothing twice, nothing of the network
    loaded = PeftModel.from_pretrained(network("vit"), str(tmp_path), low_cpu_mem_usage=low_cpu_mem_usage).eval()
    assert not any(p.is_meta for p in loaded.parameters())
    mine = {n: p for n, p in model.state_dict().items() if "moppa_" in n or "modules_to_save" in n}
    assert mine and all(torch.equal(p, loaded.state_dict()[n]) for n, p in mine.items())
    torch.testing.assert_close(loaded(images("vit")), expected, rtol=1e-5, atol=1e-5)
    assert not any(p.requires_grad for p in loaded.parameters())
    trainable = PeftModel.from_pretrained(network("vit"), str(tmp_path), is_trainable=True)
    assert sum(p.numel() for p in trainable.parameters() if p.requires_grad) == trained


def test_the_model_card_tells_how_to_load(adapt, network, tmp_path):
    model = adapt("vit")
    for _ in range(2):
        model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert card.count("`import adapters`") == 1 and "KeyError: 'MOPPA'" in card
    script = f"from peft import PeftConfig; PeftConfig.from_pretrained({str(tmp_path)!r})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "KeyError: 'MOPPA'" in run.stderr  # else the card has nothing to say


#: The names and shapes of format 1 for a ViT of one block with two heads of 32; files with them exist.
FORMAT_1 = {
    "base_model.moppa_shared.4x4x2.k_heat": (4, 4, 2),
    "base_model.moppa_shared.4x4x2.k_wave": (4, 4, 2),
    "base_model.moppa_shared.4x4x2.k_poisson": (4, 4, 2),
    "base_model.model.blocks.0.norm1.moppa_unit.priors.heat.diffusivity.time": (32,),
    "base_model.model.blocks.0.norm1.moppa_unit.priors.wave.stiffness.time": (32,),
    "base_model.model.blocks.0.norm1.moppa_unit.priors.poisson.spectrum.time": (32,),
    "base_model.model.blocks.0.norm1.moppa_unit.router.logits": (3, 2),
    "base_model.model.blocks.0.norm1.moppa_unit.router.temperature": (2,),
    "base_model.model.blocks.0.norm1.moppa_unit.gate.value": (2,),
    "base_model.model.blocks.0.attn.qkv.moppa_rescale.row": (64,),
    "base_model.model.blocks.0.attn.qkv.moppa_rescale.column": (64,),
    "base_model.model.blocks.0.attn.qkv.moppa_rescale.shift": (64,),
    "base_model.model.blocks.0.attn.proj.moppa_rescale.row": (64,),
    "base_model.model.blocks.0.attn.proj.moppa_rescale.column": (64,),
    "base_model.model.blocks.0.attn.proj.moppa_rescale.shift": (64,),
    "base_model.model.blocks.0.norm2.moppa_ssf.scale": (64,),
    "base_model.model.blocks.0.norm2.moppa_ssf.shift": (64,),
    "base_model.model.blocks.0.mlp.fc1.moppa_rescale.row": (256,),
    "base_model.model.blocks.0.mlp.fc1.moppa_rescale.column": (64,),
    "base_model.model.blocks.0.mlp.fc1.moppa_rescale.shift": (256,),
    "base_model.model.blocks.0.mlp.fc2.moppa_rescale.row": (64,),
    "base_model.model.blocks.0.mlp.fc2.moppa_rescale.column": (256,),
    "base_model.model.blocks.0.mlp.fc2.moppa_rescale.shift": (64,),
    "base_model.model.norm.moppa_ssf.scale": (64,),
    "base_model.model.norm.moppa_ssf.shift": (64,),
    "base_model.model.patch_embed.proj.moppa_ssf.scale": (64,),
    "base_model.model.patch_embed.proj.moppa_ssf.shift": (64,),
}


def _one_block():
    return timm.create_model("vit_tiny_patch16_224", img_size=64, embed_dim=64, depth=1, num_heads=2, num_classes=3)


def test_files_of_format_1_still_load(tmp_path):
    from safetensors.torch import save_file

    values = {name: torch.rand(shape) for name, shape in FORMAT_1.items()}
    save_file(values, tmp_path / "adapter_model.safetensors")
    config = {"peft_type": "MOPPA", "physics": "released", "rescale": True, "ssf": True, "format_version": 1}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    model = PeftModel.from_pretrained(_one_block(), str(tmp_path), adapter_name="old")
    model.save_pretrained(tmp_path / "again", selected_adapters=["old"])
    again = load_file(tmp_path / "again" / "old" / "adapter_model.safetensors")
    assert set(again) == set(values) and all(torch.equal(again[n], values[n]) for n in values)


def test_what_does_not_fit_is_refused_before_anything_changes(adapt, tmp_path):
    adapt("vit", physics="released").save_pretrained(tmp_path)

    def refused(net, message):
        before = {n: type(m) for n, m in net.named_modules()}
        hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())
        with pytest.raises(ValueError, match=message):
            PeftModel.from_pretrained(net, str(tmp_path))
        assert {n: type(m) for n, m in net.named_modules()} == before
        assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()) == hooks

    def vit(**options):
        return timm.create_model("vit_tiny_patch16_224", **{"img_size": 64, "depth": 2, **options})

    refused(vit(img_size=96), r"another network or grid; different: .*grid.: \[4, 4\].*grid.: \[6, 6\]")
    refused(vit(depth=3), r"another network or grid; not in the file: blocks\.2\.norm1")
    refused(vit(depth=1), r"another network or grid; not here: blocks\.1\.norm1")
    refused(vit(embed_dim=96), "another network or grid; different")


def test_pickles_and_newer_files_are_refused(adapt, network, tmp_path):
    adapt("vit").save_pretrained(tmp_path)
    config = tmp_path / "adapter_config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "format_version": 3}))
    with pytest.raises(ValueError, match="format_version 3, this library reads 1 to 2"):
        PeftModel.from_pretrained(network("vit"), str(tmp_path))
    config.write_text(json.dumps(values))
    torch.save({}, tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match="is a pickle"):
        PeftModel.from_pretrained(network("vit"), str(tmp_path))
    model = adapt("vit")
    with pytest.raises(ValueError, match="is a pickle"):
        model.load_adapter(str(tmp_path), adapter_name="other")


def test_the_config_comes_back(tmp_path):
    config = adapters.MoPPAConfig(priors=["wave", "heat"], physics="released", img_size=(64, 96), scale=0.5)
    config.save_pretrained(str(tmp_path))
    assert PeftConfig.from_pretrained(str(tmp_path)) == config


# -- several adapters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_several_adapters(form, adapt, network, images, randomise, tmp_path):
    x = images("vit")
    bare = network("vit")(x)
    model = adapt("vit", **FORMS[form])
    first = model(x)
    model.add_adapter("second", adapters.MoPPAConfig(priors=("wave", "plate"), placement="mlp"))
    assert torch.equal(model(x), first)  # there, but not active
    assert not any(p.requires_grad for n, p in model.named_parameters() if ".second." in n)
    model.set_adapter("second")
    assert all(p.requires_grad == (".second." in n) for n, p in model.named_parameters())
    with torch.no_grad():
        for n, p in model.named_parameters():
            if ".second." in n:
                p.add_(0.3)
    second = model.eval()(x)
    assert not torch.allclose(second, first, atol=1e-5) and not torch.allclose(second, bare, atol=1e-5)
    with model.disable_adapter():
        torch.testing.assert_close(model(x), bare)
    assert torch.equal(model(x), second)
    model.set_adapter("default")
    assert torch.equal(model(x), first)
    model.base_model.set_adapter(["default", "second"])
    assert not torch.allclose(model(x), first, atol=1e-5)
    model.set_adapter("default")
    model.save_pretrained(tmp_path)
    mine = load_file(tmp_path / "adapter_model.safetensors")
    assert not any("default" in name or "second" in name for name in mine)
    assert sum(t.numel() for t in mine.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    model.delete_adapter("second")
    assert torch.equal(model(x), first)
    assert not any("second" in n for n in model.state_dict())
    with pytest.raises(ValueError, match="already exists"):
        model.add_adapter("default", adapters.MoPPAConfig())


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute")
def test_the_same_name_twice_in_one_network(adapt):
    model = adapt("vit")
    with (
        pytest.warns(UserWarning, match="second time"),
        pytest.raises(ValueError, match="already has an adapter called 'default'"),
    ):
        get_peft_model(model.base_model.model, adapters.MoPPAConfig())


def test_one_config_for_two_networks(network, tmp_path):
    config = adapters.MoPPAConfig()
    first = get_peft_model(network("vit"), config)
    get_peft_model(timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3), config)
    first.save_pretrained(tmp_path)
    PeftModel.from_pretrained(network("vit"), str(tmp_path))
    assert config.adapted is None


def test_deleting_the_active_adapter_activates_all_of_the_next(adapt):
    model = adapt("vit", physics="released")
    model.add_adapter("second", adapters.MoPPAConfig(physics="released"))
    with pytest.warns(UserWarning, match="Setting active adapter to second"):
        model.delete_adapter("default")
    assert all(p.requires_grad for n, p in model.named_parameters() if ".second." in n)


def test_modules_that_are_saved_in_full_are_not_adapted(adapt, network, tmp_path):
    model = adapt("convnext_linear", ssf=True, modules_to_save=["head"])
    assert not any("head" in name and "moppa_" in name for name in model.state_dict())
    model.save_pretrained(tmp_path)
    PeftModel.from_pretrained(network("convnext_linear"), str(tmp_path))
    with pytest.raises(ValueError, match=r"head\.norm lies inside head, which another adapter"):
        model.add_adapter("second", adapters.MoPPAConfig(ssf=True))


def test_shared_media_follow_the_network():
    with torch.device("meta"):
        net = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1)
    model = get_peft_model(net, adapters.MoPPAConfig(physics="released"))
    assert all(p.is_meta for p in model.parameters())


def test_a_second_adapter_inside_one_that_wraps_a_whole_module(adapt):
    model = adapt("vit", placement="parallel")
    with pytest.raises(ValueError, match=r"blocks\.0\.attn\.qkv lies inside blocks\.0\.attn, which another adapter"):
        model.add_adapter("second", adapters.MoPPAConfig(rescale=True))
    assert list(model.peft_config) == ["default"]


# -- unloading and merging --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vit", "swin", "vheat_post_norm"])
@pytest.mark.parametrize("placement", ["attention", "mlp", "parallel"])
def test_unload_gives_the_bare_network_back(kind, placement, adapt, network, images):
    bare = network(kind)
    net = adapt(kind, placement=placement, rescale=True, ssf=True).unload()
    assert {n: type(m) for n, m in net.named_modules()} == {n: type(m) for n, m in bare.named_modules()}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), bare.state_dict().values(), strict=True))
    torch.testing.assert_close(net(images(kind)), bare(images(kind)))


WEIGHTS = {"rescale": {"rescale": True, "ssf": True}, "rank": {"rank": 2}, "both": {"rescale": True, "rank": 2}}


@pytest.mark.parametrize("kind", ["vit", "beit", "swin", "convnext_linear", "vheat"])
@pytest.mark.parametrize("form", WEIGHTS)
def test_changes_of_weights_merge_exactly(kind, form, adapt, images):
    x = images(kind)
    model = adapt(kind, priors=(), **WEIGHTS[form])
    expected = model(x)
    weights = {n: t.clone() for n, t in model.state_dict().items() if "moppa_" not in n}
    model.merge_adapter()
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
    model.unmerge_adapter()
    state = model.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in weights.items())
    assert torch.equal(model(x), expected)
    net = model.merge_and_unload(safe_merge=True)
    assert not any(isinstance(m, MoPPALayer) for m in net.modules())
    torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-4)


def test_units_cannot_be_merged(adapt, images):
    model = adapt("vit", rescale=True)
    before = model(images("vit"))
    for merge in (model.merge_adapter, model.merge_and_unload):
        with pytest.raises(ValueError, match="are no weights and cannot be merged"):
            merge()
    assert torch.equal(model(images("vit")), before)


def test_a_refused_merge_merges_nothing(adapt, images):
    model = adapt("vit", rescale=True, ssf=True)
    model.add_adapter("second", adapters.MoPPAConfig(priors=(), ssf=True))
    model.set_adapter("second")
    before = model(images("vit"))
    with pytest.raises(ValueError, match="cannot be merged"):
        model.merge_adapter(adapter_names=["default"])
    assert torch.equal(model(images("vit")), before)


def test_merging_in_half_precision_and_moving(images):
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1, qkv_bias=False).bfloat16()
    model = get_peft_model(net, adapters.MoPPAConfig(priors=(), rescale=True, init="released")).eval()
    model.merge_adapter()
    assert model(images("vit").bfloat16()).dtype == torch.bfloat16
    model.float()
    model.unmerge_adapter()
    assert model.float()(images("vit")).isfinite().all()


# -- beside LoRA ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:You are trying to modify a model with PEFT for a second time")
@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute")
@pytest.mark.parametrize("lora_first", [True, False])
def test_beside_lora(lora_first, network, images, randomise, tmp_path):
    net, x = network("vit"), images("vit")
    bare = net(x)
    lora_config = LoraConfig(r=2, target_modules=["qkv"], init_lora_weights=False)
    if lora_first:
        inject_adapter_in_model(lora_config, net, adapter_name="lora")
    model = get_peft_model(net, adapters.MoPPAConfig(), adapter_name="physics").eval()
    if not lora_first:
        inject_adapter_in_model(lora_config, net, adapter_name="lora")
    randomise(model)
    model(x).sum().backward()
    trained = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert any("lora_A" in n for n in trained) and any("moppa_unit" in n for n in trained)
    both = model(x)
    with model.disable_adapter():
        torch.testing.assert_close(model(x), bare)
    model.save_pretrained(tmp_path, selected_adapters=["physics"])
    saved = load_file(tmp_path / "physics" / "adapter_model.safetensors")
    assert saved and not any("lora" in name for name in saved)
    assert not torch.allclose(both, bare, atol=1e-3)


# -- running it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vit", "swin", "vheat"])
@pytest.mark.parametrize("router", ["static", "input"])
def test_gradient_checkpointing(kind, router, adapt, images):
    grads = []
    for checkpointing in (False, True):
        model = adapt(kind, router=router, route_weight=0.1).train()
        model.base_model.model.set_grad_checkpointing(checkpointing)
        x = images(kind).requires_grad_()
        (model(x).square().sum() + adapters.route_regularization(model)).backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_unit_keeps_no_input_for_backward(adapt):
    unit = adapt("convnext").base_model.get_submodule("model.stages.0.blocks.0.conv_dw").moppa_unit["default"].train()
    x = torch.rand(2, 40, 6, 4, requires_grad=True) * 2  # made inside the graph, and held by nothing else
    held = weakref.ref(x)
    out = unit(x)
    del x
    assert held() is None
    out.sum().backward()
    assert all(p.grad is not None for p in unit.parameters())


@pytest.mark.parametrize("autocast", [False, True])
def test_rescaling_keeps_no_weight_for_backward(autocast, adapt, images, monkeypatch):
    model = adapt("vit", priors=(), rescale=True, rank=2).train()
    weights, linear = [], F.linear

    def noted(x, weight, bias=None):
        if not isinstance(weight, torch.nn.Parameter):
            weights.append(StorageWeakRef(weight.untyped_storage()))
        return linear(x, weight, bias)

    monkeypatch.setattr(F, "linear", noted)
    monkeypatch.setattr("adapters.layer.LARGE", 0)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = model(images("vit"))
    assert len(weights) == 2 * 4 and all(weight.expired() for weight in weights)
    y.float().sum().backward()


def _gradients(model, run, x):
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    changed = {name: (1.5 * p).detach().requires_grad_() for name, p in parameters.items()}
    return torch.autograd.grad(run(changed, x).square().sum(), list(changed.values()))


def test_gradients_of_rescaling_are_those_of_the_tensors_it_was_called_with(adapt, images):
    model, x = adapt("vit", priors=(), rescale=True, rank=2), images("vit")
    found = _gradients(model, lambda changed, x: func.functional_call(model, changed, (x,)), x)

    def in_place(changed, x):
        twin = copy.deepcopy(model)
        for name, value in changed.items():
            owner, _, leaf = name.rpartition(".")
            del twin.get_submodule(owner)._parameters[leaf]
            setattr(twin.get_submodule(owner), leaf, value)
        return twin(x)

    for one, other in zip(found, _gradients(model, in_place, x), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("change", ["exchanged", "modified"])
def test_a_units_parameters_must_stay_until_backward(change, adapt, images):
    """The gain is made again in backward, from them."""
    model, x = adapt("vit"), images("vit")
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    changed = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
    loss = func.functional_call(model, changed, (x,)).sum() if change == "exchanged" else model(x).sum()
    if change == "modified":
        with torch.no_grad():
            next(p for name, p in parameters.items() if "gate" in name).add_(1)
    with pytest.raises(RuntimeError, match="modified or exchanged between its forward pass and backward"):
        loss.backward()


def test_function_transforms(adapt, images):
    model, x = adapt("vit", rescale=True), images("vit")
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    found = func.grad(lambda p: func.functional_call(model, p, (x,)).square().sum())(parameters)
    model(x).square().sum().backward()
    for name, p in model.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(found[name], p.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_training_does_not_write_which_priors_are_left_out(adapt, images, monkeypatch):
    """Another thread may be setting them."""
    model = adapt("vit")
    monkeypatch.setattr(Router, "leaving_out", None)
    model(images("vit")).sum().backward()


@pytest.mark.parametrize("after", ["leaving the block", "running the bare network"])
def test_backward_is_of_the_forward_pass_it_belongs_to(after, adapt, images):
    """Gains and weights are made again in backward."""
    model, x, grads = adapt("vit", rescale=True), images("vit"), []
    for late in (False, True):
        model.zero_grad()
        with adapters.leave_out_priors(model, "wave"):
            loss = model(x).square().sum()
            if not late:
                loss.backward()
        if after == "running the bare network":
            with model.disable_adapter():
                model(x)
        if late:
            loss.backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_half_networks(form, dtype, adapt, images):
    x = images("vit")
    model = adapt("vit", **FORMS[form])
    expected = model(x)
    with torch.autocast("cpu", dtype):
        out = model(x)
        out.float().sum().backward()
    tolerance = {"rtol": 0.1, "atol": 0.1}
    torch.testing.assert_close(out.float(), expected, **tolerance)
    half = adapt("vit", **FORMS[form]).to(dtype)
    torch.testing.assert_close(half(x.to(dtype)).float(), expected, **tolerance)


@pytest.mark.parametrize("form", FORMS)
def test_no_input_is_cast_to_the_adapters_dtype(form, adapt, images):
    """So what disables PEFT's casts changes nothing, and can be used beside methods that have them."""
    model, x = adapt("vit", **FORMS[form]).to(torch.bfloat16), images("vit").to(torch.bfloat16)
    expected = model(x)
    with disable_input_dtype_casting(model):
        assert torch.equal(model(x), expected)
    assert all(m.cast_input_dtype_enabled for m in model.modules() if isinstance(m, MoPPALayer))


def test_copies_are_independent(adapt, images):
    x = images("vit")
    model = adapt("vit", physics="released", router="input").train()
    model(x).sum().backward()
    model.eval()
    expected = model(x)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), expected)
    with torch.no_grad():
        for n, p in twin.named_parameters():
            if "moppa_" in n:
                p.mul_(1.5)
    assert not torch.allclose(twin(x), expected, atol=1e-3) and torch.equal(model(x), expected)
    net = twin.unload()
    assert not any(m._forward_hooks for m in net.modules())
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize("physics", ["exact", "released"])
def test_precomputed_gains(physics, adapt, images, monkeypatch):
    x = images("vit")
    model = adapt("vit", physics=physics)
    keys = list(model.state_dict())
    units = [m.moppa_unit["default"] for m in model.modules() if isinstance(m, MoPPALayer)]
    computed = []
    for unit in units:
        gain = unit.operator.gain
        monkeypatch.setattr(unit.operator, "gain", lambda *a, gain=gain, **k: computed.append(1) or gain(*a, **k))

    def check(expected_count):
        """The output is right, and so many gains were computed for it."""
        computed.clear()
        out = model(x)
        count = len(computed)
        for unit in units:
            unit.forget()
        assert torch.equal(out, model(x)) and count == expected_count

    with torch.inference_mode():
        adapters.precompute(model, x[:1])
    assert list(model.state_dict()) == keys  # not part of files
    with torch.no_grad():
        check(0)
        adapters.precompute(model, x[:1])
        with adapters.leave_out_priors(model, "wave"):
            check(2)
            adapters.precompute(model, x[:1])
        check(2)
        adapters.precompute(model, x[:1])
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.1)  # as an optimiser does
        check(2)
        adapters.precompute(model, x[:1])
        parameters = [p for p in model.parameters() if p.requires_grad]
        for p in parameters:
            p.grad = torch.full_like(p, 0.1)
        torch.optim.SGD(parameters, 1.0, fused=True).step()  # which changes no versions
        check(2)
        adapters.precompute(model, x[:1])
        torch.nn.utils.vector_to_parameters(torch.nn.utils.parameters_to_vector(parameters) + 0.1, parameters)
        check(2)
        adapters.precompute(model, x[:1])
        if physics == "released":
            model.base_model.moppa_shared["default"]["4x4x3"].k_heat.mul_(2)
            check(2)
            adapters.precompute(model, x[:1])
    model(x).sum().backward()
    assert all(p.grad.any() for p in model.parameters() if p.requires_grad)


def test_data_parallel_is_refused(adapt):
    unit = next(m for m in adapt("vit").modules() if isinstance(m, MoPPALayer)).moppa_unit["default"]
    with pytest.raises(RuntimeError, match="use DistributedDataParallel"):
        unit._replicate_for_data_parallel()


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=[pytest.mark.sweep] * (form in ("exact", "rank"))) for form in FORMS]
)
def test_compiles_in_one_graph(form, adapt, images):
    model = adapt("vit", **FORMS[form])
    x = images("vit")
    compiled = torch.compile(model.base_model.model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_exports(adapt, images):
    model = adapt("vit")
    x = images("vit")
    program = torch.export.export(model.base_model.model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize("kind", ["beit", "eva", "vit"])
def test_disabling_what_is_merged(kind, adapt, network, images):
    """Also where the network reads a weight and never calls the layer."""
    model = adapt(kind, priors=(), rescale=True)
    expected = model(images(kind))
    model.merge_adapter()
    with model.disable_adapter():
        torch.testing.assert_close(model(images(kind)), network(kind)(images(kind)), rtol=1e-5, atol=1e-5)
    assert torch.equal(model(images(kind)), expected)


def test_what_was_loaded_or_trained_since_merging_is_not_thrown_away(adapt, images):
    model = adapt("vit", priors=(), rescale=True)
    state = {name: value + 0.01 for name, value in model.state_dict().items()}
    model.merge_adapter()
    model.load_state_dict(state)
    with pytest.raises(RuntimeError, match="have been written to since default was merged into them"):
        model.unmerge_adapter()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
