"""Tools that wrap, hook, offload, prune, quantise, average, copy or export modules, on adapted networks."""

import copy
import pickle
import threading
import time

import numpy as np
import pytest
import timm
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from peft import get_peft_model
from timm.utils import ModelEmaV2, ModelEmaV3
from torch import distributed, fx, nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.utils import parametrizations, parametrize, prune
from torch.optim.swa_utils import AveragedModel
from torch.utils.flop_counter import FlopCounterMode

import adapters
from adapters.layer import MoPPALayer
from adapters.unit import MoPPAUnit
from spectral_ops import Identity

FORM = {"rescale": True, "ssf": True, "router": "input"}


def _linears(model):
    """The linear layers that adapters stand around, or that are there besides."""
    return [m for m in model.modules() if isinstance(m, nn.Linear)]


def _gradients(model, x):
    """Of what is trained, by the names of the network inside."""
    model(x).square().sum().backward()
    return {n.replace("_fsdp_wrapped_module.", ""): p.grad for n, p in model.named_parameters() if p.requires_grad}


def _same(one, other, tolerance=1e-4):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


# -- hooks, and weights that are not there ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The following device_map keys do not match any submodules")  # but parameters
@pytest.mark.parametrize("offload", ["cpu", "disk", "dispatch"])
@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_offloading(kind, offload, adapt, images, tmp_path):
    model, x = adapt(kind, physics="released", **FORM), images(kind)
    with torch.no_grad():
        expected = model(x)
        if offload == "cpu":
            cpu_offload(model, execution_device="cpu")
        elif offload == "disk":
            disk_offload(model, str(tmp_path), execution_device="cpu")
        else:
            names = {".".join(name.split(".")[:3]) for name in model.state_dict()}
            places = {name: "cpu" if "head" in name else "disk" for name in names}
            dispatch_model(model, places, "cpu", model.state_dict(), str(tmp_path))
        assert any(p.is_meta for p in model.parameters())
        _same(model(x), expected)


@pytest.mark.filterwarnings("ignore:FSDP is switching to use `NO_SHARD`")  # in one process
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("physics", ["exact", "released"])
def test_fully_sharded_data_parallel(physics, adapt, images):
    """In backward its modules keep their numbers as plain attributes, from which units make their gains again."""
    model, x = adapt("vheat", physics=physics), images("vheat")
    expected = _gradients(copy.deepcopy(model), x)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        found = _gradients(FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu")), x)
    finally:
        distributed.destroy_process_group()
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        _same(found[name].reshape(gradient.shape), gradient)


@pytest.mark.parametrize("kind", ["vit", "vheat", "swin"])
def test_hooks_on_rescaled_layers_run_once(kind, adapt, images):
    model, x = adapt(kind, **FORM), images(kind)
    expected, calls = model(x), []
    rescaled = [m for m in model.modules() if isinstance(m, MoPPALayer) and len(m.moppa_rescale)]
    for layer in rescaled:
        layer.base_layer.register_forward_hook(lambda m, args, out: calls.append(m))
    _same(model(x), expected)
    assert len(calls) == len(set(calls)) == len(rescaled)
    rescaled[0].base_layer.register_forward_hook(lambda m, args, out: torch.zeros_like(out))
    assert not torch.allclose(model(x), expected, atol=1e-3)
    model(x).sum().backward()
    assert all(p.grad is not None for p in rescaled[1].moppa_rescale.parameters())


def test_counted_operations(network, adapt, images):
    counts = []
    for net in (network("vit"), adapt("vit", **FORM)):
        with FlopCounterMode(display=False) as counter:
            net(images("vit"))
        counts.append(counter.get_total_flops())
    assert counts[0] < counts[1] < 1.02 * counts[0]


@pytest.mark.parametrize("kind", ["vit", "vheat"])
@pytest.mark.parametrize("name", ["__call__", "_call_impl"])
def test_patched_calls_see_every_linear(name, kind, adapt, images, monkeypatch):
    model, x, seen, own = adapt(kind, **FORM), images(kind), set(), getattr(nn.Module, name)
    expected = model(x)
    monkeypatch.setattr(nn.Module, name, lambda self, *a, **k: (seen.add(self), own(self, *a, **k))[1])
    _same(model(x), expected)
    assert seen >= {module for module in model.modules() if type(module) is nn.Linear}


def test_patched_forwards_of_linears_are_changed(adapt, images, monkeypatch):
    model, x, own = adapt("vit", rescale=True), images("vit"), nn.Linear.forward
    expected, seen = model(x), set()
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: (seen.add(self), own(self, x))[1])
    _same(model(x), expected)
    assert seen >= {module for module in model.modules() if type(module) is nn.Linear}


def test_a_state_has_the_own_weights_while_others_are_in_effect(adapt, images):
    model, x, found = adapt("vit", rescale=True), images("vit"), []
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    linear = next(m.base_layer for m in model.modules() if isinstance(m, MoPPALayer) and len(m.moppa_rescale))

    def look(module, args):
        thread = threading.Thread(target=lambda: found.append(model.state_dict()))
        found.append(thread)
        thread.start()
        time.sleep(0.3)

    linear.register_forward_pre_hook(look)
    model(x)
    found[0].join()
    torch.testing.assert_close(dict(found[1]), expected, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max")
def test_quantisation_aware_training_observes_the_rescaled_weight(adapt, images):
    """And nothing else: the same as where it was merged before."""
    model, x = adapt("vit", rescale=True, priors=()), images("vit")
    merged = copy.deepcopy(model).merge_and_unload()
    found = []
    for net in (model, merged):
        for module in net.modules():
            if type(module) is nn.Linear:
                module.qconfig = torch.ao.quantization.get_default_qat_qconfig("x86")
        prepared = torch.ao.quantization.prepare_qat(net.train()).eval()
        for _ in range(3):
            prepared(x)
        found.append(prepared(x))
    _same(found[0], found[1])
    assert not torch.allclose(found[0], adapt("vit", rescale=True, priors=())(x), atol=1e-5)


@pytest.mark.parametrize("options", [{"rescale": True}, {"rank": 2}], ids=["rescale", "rank"])
def test_runs_on_the_meta_device(options):
    with torch.device("meta"):
        net = timm.create_model("vheat_nano", num_classes=2)
        assert get_peft_model(net, adapters.MoPPAConfig(**options))(torch.empty(2, 3, 64, 64)).shape == (2, 2)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_counters_by_hooks_and_buffers(adapt, images):
    """As thop gives every module a buffer, and fvcore traces networks with hooks."""
    model, x = adapt("vit", **FORM), images("vit")
    expected = model(x)

    def count(module, args, output):
        module.total += 1

    for module in model.get_base_model().modules():
        module.register_buffer("total", torch.zeros(1), persistent=False)
        module.register_forward_hook(count)
    _same(model(x), expected)
    assert all(m.total == 1 for m in model.modules() if isinstance(m, (MoPPALayer, nn.Linear)))
    _same(torch.jit.trace(model, (x,), check_trace=False)(x), expected)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("kind", ["vit", "vheat", "beit"])
@pytest.mark.parametrize("tool", ["prune", "weight_norm", "old_weight_norm"])
def test_weights_that_are_made_in_the_call(tool, kind, adapt, images):
    """Exactly those of a network whose weights are what the tool makes of them."""
    model, x = adapt(kind, **FORM), images(kind)
    twin = copy.deepcopy(model)
    for layer in _linears(model):
        if tool == "prune":
            prune.l1_unstructured(layer, "weight", 0.4)
        else:
            (nn.utils.weight_norm if tool == "old_weight_norm" else parametrizations.weight_norm)(layer)
    layers = zip(_linears(model), _linears(twin), strict=True)
    with torch.no_grad():
        for changed, layer in layers:
            layer.weight.copy_(changed.weight)
    _same(model(x), twin(x))
    merged = adapt(kind, priors=(), rescale=True)
    for layer in _linears(merged):
        prune.l1_unstructured(layer, "weight", 0.4)
    with pytest.raises(
        ValueError, match=r"cannot be merged into a .*Linear of torch.float32, whose weight is not a plain"
    ):
        merged.merge_adapter()


class _Thrice(nn.Module):
    def forward(self, x):
        return 3 * x


def _set(unit):
    unit.gate.scale = 3.0


STORED = {
    "prune": lambda unit: prune.random_unstructured(unit.router, "logits", 0.9),
    "parametrise": lambda unit: parametrize.register_parametrization(unit.router, "logits", _Thrice()),
    "hook": lambda unit: unit.gate.register_forward_hook(lambda module, args, y: 3 * y),
    "set": _set,
}


@pytest.mark.parametrize("kind", ["vit", "vheat"])
@pytest.mark.parametrize("tool", STORED)
@torch.no_grad()
def test_stored_gains_are_not_those_before(tool, kind, adapt, images):
    model, x = adapt(kind), images(kind)
    units = [m.moppa_unit["default"] for m in model.modules() if isinstance(m, MoPPALayer) and len(m.moppa_unit)]
    adapters.precompute(model, x)
    before = model(x)
    for unit in units:
        STORED[tool](unit)
    found = model(x)
    for unit in units:
        unit.forget()
    assert torch.equal(found, model(x)) and not torch.equal(found, before)


# -- quantised --------------------------------------------------------------------------------------------------------


class _Int8(nn.Linear):
    """A linear of int8 weights and one scale, as quantisers of weights alone make them."""

    def __init__(self, linear):
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None)
        self.scale = linear.weight.detach().abs().max() / 127
        self.weight = nn.Parameter((linear.weight / self.scale).round().to(torch.int8), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


def _quantise(net, make=_Int8):
    for name, module in list(net.named_modules()):
        if type(module) is nn.Linear:
            net.set_submodule(name, make(module))
    return net


def _rounded(linear):
    twin, quantised = copy.deepcopy(linear), _Int8(linear)
    twin.weight = nn.Parameter(quantised.weight * quantised.scale, requires_grad=False)
    return twin


@pytest.mark.parametrize("when", ["before", "after"])
def test_int8_weights_are_rescaled(when, network, images, randomise):
    models, x = [], images("vit")
    for make in (_Int8, _rounded):
        net = network("vit") if when == "after" else _quantise(network("vit"), make)
        model = get_peft_model(net, adapters.MoPPAConfig(**FORM))
        models.append(_quantise(model, make) if when == "after" else model)
        randomise(models[-1])
    int8, reference = (model.eval() for model in models)
    _same(int8(x), reference(x))
    for model in models:
        model(x).square().sum().backward()
    for (name, p), q in zip(int8.named_parameters(), reference.parameters(), strict=True):
        if "moppa_" in name:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-3, msg=name)
    with pytest.raises(ValueError, match="cannot be merged"):
        int8.merge_adapter()


def test_int8_weights_cannot_be_merged(network):
    model = get_peft_model(_quantise(network("vit")), adapters.MoPPAConfig(priors=(), rescale=True))
    with pytest.raises(ValueError, match=r"cannot be merged into a _Int8 of torch\.int8, .* it runs unmerged"):
        model.merge_adapter()


def test_int8_weights_that_are_read(network, images):
    model = get_peft_model(_quantise(network("beit")), adapters.MoPPAConfig(rescale=True))
    with pytest.raises(ValueError, match=r"reads the weight of a _Int8 of torch\.int8 without calling it"):
        model(images("beit"))


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.quantize_per_tensor")
def test_dynamically_quantised(network, adapt, images):
    quantise = torch.ao.quantization.quantize_dynamic
    model, x = adapt("vit", **FORM), images("vit")
    expected = model(x)
    quantised = quantise(model, {nn.Linear})
    assert not _linears(quantised)
    assert 0 < (quantised(x) - expected).abs().max() < 0.1 * expected.abs().max()
    with pytest.raises(
        ValueError, match=r"rescale, rank: blocks\.0\.attn\.qkv is a torch\.ao\..*Linear of torch\.qint8.*adapt the"
    ):
        get_peft_model(quantise(network("vit"), {nn.Linear}), adapters.MoPPAConfig(rescale=True))


# -- averages, copies, functional calls -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vit", "vheat"])
def test_averages(kind, adapt, images):
    model, x = adapt(kind, physics="released", img_size=images(kind).shape[2:], **FORM), images(kind)
    averages = {
        "swa": AveragedModel(model),
        "v2": ModelEmaV2(model, decay=0.5),
        "v3": ModelEmaV3(model, decay=0.5),
    }
    first = {n: p.detach().clone() for n, p in model.named_parameters()}
    averages["swa"].update_parameters(model)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.2)
    averages["swa"].update_parameters(model)
    averages["v2"].update(model)
    averages["v3"].update(model)
    mean = {n: (p.detach() + first[n]) / 2 for n, p in model.named_parameters()}
    model.load_state_dict(mean, strict=False)
    for average in averages.values():
        _same(average.module(x), model(x))


def test_functional_call_and_pickles(adapt, images):
    model, x = adapt("vit", physics="released", **FORM), images("vit")
    changed = {n: 1.1 * p.detach() for n, p in model.named_parameters()}
    found = torch.func.functional_call(model, changed, (x,))
    again = pickle.loads(pickle.dumps(model))
    again.load_state_dict(changed, strict=False)
    _same(again(x), found)
    assert not torch.allclose(model(x), found, atol=1e-3)


def test_made_on_the_meta_device(adapt, images):
    model, x = adapt("vit", physics="released", **FORM), images("vit")
    state = model.state_dict()
    with torch.device("meta"):
        net = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=5)
        empty = get_peft_model(net, adapters.MoPPAConfig(physics="released", **FORM)).eval()
    empty.load_state_dict(state, assign=True)
    assert torch.equal(empty(x), model(x))
    materialised = copy.deepcopy(model).to("meta").to_empty(device="cpu")
    materialised.load_state_dict(state)
    assert torch.equal(materialised(x), model(x))


def test_torch_fx_says_what_works(adapt, images):
    with pytest.raises(TypeError, match=r"torch\.fx cannot trace an adapted network"):
        fx.symbolic_trace(adapt("vit").get_base_model())
    merged, x = adapt("vit", priors=(), ssf=True), images("vit")
    expected = merged(x)
    _same(fx.symbolic_trace(merged.merge_and_unload())(x), expected)


# -- export -----------------------------------------------------------------------------------------------------------


def _small(kind):
    torch.manual_seed(0)
    if kind == "vit":
        sizes = {"embed_dim": 32, "num_heads": 2, "depth": 1}
        return timm.create_model("vit_tiny_patch16_224", img_size=64, dynamic_img_size=True, num_classes=5, **sizes), 16
    return timm.create_model(kind, num_classes=5), 32


@pytest.mark.parametrize(("kind", "whole"), [("vit", True), ("vit", False), ("vheat_nano", True)])
def test_export_with_dynamic_sizes(kind, whole, randomise):
    """A PeftModel takes ``*args``, whose shapes are a tuple; the network inside has the names of its arguments."""
    net, step = _small(kind)
    model = get_peft_model(net, adapters.MoPPAConfig(**FORM)).eval()
    randomise(model)
    sizes = {2: step * torch.export.Dim("h", min=2, max=16), 3: step * torch.export.Dim("w", min=2, max=16)}
    shapes = {0: torch.export.Dim("batch", min=2, max=64), **sizes}
    x, other = torch.randn(2, 3, 64, 96), torch.randn(3, 3, 96, 64)
    module, dynamic = (model, {"args": (shapes,)}) if whole else (model.get_base_model(), {"x": shapes})
    program = torch.export.export(module, (x,), dynamic_shapes=dynamic)
    _same(program.module()(other), model(other))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_onnx_with_a_dynamic_batch_and_size(adapt, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, path = adapt("vheat", **FORM), str(tmp_path / "model.onnx")
    axes = {"x": {0: "batch", 2: "h", 3: "w"}}
    torch.onnx.export(model, (torch.randn(2, 3, 64, 96),), path, dynamo=False, input_names=["x"], dynamic_axes=axes)
    x = torch.randn(3, 3, 96, 64)
    found = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})[0]
    np.testing.assert_allclose(found, model(x).detach().numpy(), rtol=1e-4, atol=1e-4)


# -- modules that tools put in the place of a unit's -------------------------------------------------------------------


class _Doubled(nn.Module):
    """A wrapper as tools put around modules: it answers for what is inside, and changes what that returns."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args):
        return 2 * self.inner(*args)


def _units(model):
    return [module for module in model.modules() if isinstance(module, MoPPAUnit)]


def _wrap_router(model):
    for unit in _units(model):
        unit.router = _Doubled(unit.router)


def _wrap_gate(model):
    for unit in _units(model):
        unit._modules["gate"] = _Doubled(unit.gate)


def _other_priors(model):
    for unit in _units(model):
        for name, prior in unit.priors.items():
            unit.priors[name] = Identity(**prior.grid_options)


def _wrap_media(model):
    for shared in model.base_model.moppa_shared.values():
        for name, media in shared.items():
            shared[name] = _Doubled(media)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("kind", ["vit", "vheat"])
@pytest.mark.parametrize("replace", [_wrap_router, _wrap_gate, _other_priors, _wrap_media])
def test_replaced_modules_take_effect(replace, kind, stored, adapt, images):
    """As those that hooks on the same modules give."""
    physics = "released" if replace is _wrap_media else "exact"
    model, x = adapt(kind, physics=physics), images(kind)
    hooked, before = copy.deepcopy(model), model(x).detach()
    if stored:
        adapters.precompute(model, x)
    if replace is _other_priors:
        for unit in _units(hooked):
            for prior in unit.priors.values():
                prior.raw_gain = lambda grid: torch.ones(*grid.sizes, 1)
    else:
        for unit in _units(hooked):
            for part in {_wrap_router: [unit.router], _wrap_gate: [unit.gate], _wrap_media: []}[replace]:
                part.register_forward_hook(lambda module, args, y: 2 * y)
        for media in hooked.base_model.moppa_shared["default"].values() if replace is _wrap_media else ():
            media.register_forward_hook(lambda module, args, y: 2 * y)
    replace(model)
    with torch.no_grad():
        assert not torch.allclose(model(x), before, atol=1e-3)
        _same(model(x), hooked(x))
        adapters.precompute(model, x)
        _same(model(x), hooked(x))
        _same(copy.deepcopy(model)(x), hooked(x))


def test_a_prior_that_is_taken_out(adapt, images):
    model = adapt("vit")
    del _units(model)[0].priors["wave"]
    with pytest.raises(ValueError, match="weights must have 2 entries along their first dimension, one per operator"):
        model(images("vit"))


def test_a_hooked_layer_is_changed_once_in_two_threads(adapt, images):
    """One thread is inside the layer, where it has put its own weight, when the other comes to it."""
    model, x = adapt("vit", priors=(), rescale=True), images("vit")
    layer = next(m for m in model.modules() if isinstance(m, MoPPALayer))
    inside, found = threading.Event(), []

    def wait(*_):
        if threading.current_thread() is first and not inside.is_set():
            inside.set()
            time.sleep(0.2)  # the other one comes meanwhile, and waits

    with torch.no_grad():
        expected = model(x)
        layer.base_layer.register_forward_pre_hook(wait)
        first, second = (threading.Thread(target=lambda: found.append(model(x).detach())) for _ in range(2))
        first.start()
        assert inside.wait(60)
        second.start()
        first.join()
        second.join()
    for y in found:
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)


def test_attention_of_torch_whose_keys_are_its_queries(images):
    torch.manual_seed(0)
    net = nn.ModuleDict({"attention": nn.MultiheadAttention(32, 2, batch_first=True)})
    config = adapters.MoPPAConfig(target_modules=["attention"], layout="tokens", num_prefix_tokens=0)
    with pytest.raises(ValueError, match="no patch embedding tells its grid"):
        get_peft_model(net, config)
    net = nn.Sequential(nn.MultiheadAttention(32, 2, batch_first=True))
    adapters.register_block(nn.Sequential, adapters.Block(attention="0", mlp="0", parallel="0", inputs=(4, 4)))
    try:
        model = get_peft_model(net, adapters.MoPPAConfig()).eval()
    finally:
        del adapters.BLOCKS[nn.Sequential]
    layer = model.base_model.model[0]
    unit, x = layer.moppa_unit["default"], torch.randn(2, 16, 32)
    with torch.no_grad():
        unit.gate.value.fill_(0.7)
        changed = unit(x)
        expected = layer.base_layer(changed, changed, changed)[0]
        assert torch.equal(layer(x, x, x)[0], expected) and torch.equal(layer(x, key=x, value=x)[0], expected)
        memory = torch.randn(2, 5, 32)
        assert torch.equal(layer(x, memory, memory)[0], layer.base_layer(changed, memory, memory)[0])
