"""Stored gains of every family give way to whatever tools of others do to what they were made of."""

from __future__ import annotations

import pytest
import timm
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.utils import parametrize, prune

from backbones import FAMILIES
from spectral_ops import Precomputed, Softmax
from spectral_ops.quantities import Bounded, FromEmbedding, Softplus

#: That do not see the input; RS-vHeat of images of one modality whose numbers are any.
NAMES = [f"{family}_nano" for family in FAMILIES if family != "vtail"] + ["rs_vheat_nano"]
OPTICAL = {"name": "optical", "bands": ["R", "G", "B"], "unit": None, "mean": 0.0, "std": 1.0}


def _network(name, randomise):
    options = {"modalities": [OPTICAL]} if name.startswith("rs_") else {}
    return randomise(timm.create_model(name, img_size=32, num_classes=3, **options)).eval()


def _learned(net, *kinds):
    return [module for module in net.modules() if isinstance(module, kinds)]


def _hook(net):
    for module in _learned(net, FromEmbedding, Softplus, Bounded):
        module.register_forward_hook(lambda module, args, value: 2 * value)


def _prune(net):
    for module in _learned(net, Softplus, Bounded):
        prune.random_unstructured(module, "raw", 0.9)
    for embedding in [stage.embedding for stage in net.stages if stage.embedding is not None]:
        for name in dict(embedding.named_parameters()):
            prune.random_unstructured(embedding, name, 0.9)


def _parametrise(net):
    for module in _learned(net, Softplus, Bounded):
        parametrize.register_parametrization(module, "raw", nn.ReLU())
    for module in _learned(net, Softmax):
        parametrize.register_parametrization(module, "logits", nn.ReLU())
    for module in _learned(net, FromEmbedding):
        nn.utils.parametrizations.spectral_norm(module.linear)


@pytest.mark.parametrize("change", [_hook, _prune, _parametrise])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_hooked_pruned_parametrised(name, change, randomise):
    net, x = _network(name, randomise), torch.randn(2, 3, 32, 32)
    net.reparameterize([32])
    before = net(x)
    change(net)
    after = net(x)
    net.unreparameterize()
    assert torch.equal(after, net(x)) and not torch.equal(after, before)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("name", ["vheat_nano", "vtail_static_nano", "vmix_nano", "rs_vheat_nano"])
@torch.no_grad()
def test_a_mixed_batch_of_peft_is_refused_where_samples_share_a_layer(name, stored, randomise):
    """Also where there are as many samples as rows in the map of modes, which LoRA took for samples."""
    net, x = _network(name, randomise), torch.randn(2, 3, 64, 64)
    config = LoraConfig(r=2, target_modules=r"stages\.3\..*linear")
    model = get_peft_model(net, config, "one")
    model.add_adapter("two", config)
    randomise(model.eval())
    expected = model(x[:1])
    if stored:
        net.reparameterize([64])
    with pytest.raises(ValueError, match="Length of `adapter_names` should be the same as the number of inputs"):
        model(x, adapter_names=["one", "two"])
    torch.testing.assert_close(model(x[:1], adapter_names=["one"]), expected)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_adapters_of_peft_that_are_switched_scaled_and_disabled(name, randomise):
    """PEFT writes names and factors into lists and dictionaries of its layers."""
    net, x, config = _network(name, randomise), torch.randn(2, 3, 32, 32), LoraConfig(r=2, target_modules="all-linear")
    model = get_peft_model(net, config, "one")
    model.add_adapter("two", config)
    randomise(model.eval())
    expected = {}
    for adapter in ("one", "two"):
        model.set_adapter(adapter)
        expected[adapter] = model(x)
    with model.disable_adapter():
        expected[None] = model(x)
    model.set_adapter("one")
    net.reparameterize([32])
    assert torch.equal(model(x), expected["one"])
    with model.disable_adapter():
        assert torch.equal(model(x), expected[None])
    model.set_adapter("two")
    assert torch.equal(model(x), expected["two"])
    model.set_adapter("one")
    covered = [module.covers(size) for module in _learned(net, Precomputed) for size in module.stored_sizes]
    assert covered and all(covered)  # nothing was lost on the way
    for layer in model.modules():
        if hasattr(layer, "set_scale"):
            layer.set_scale("one", 3.0)
    scaled = model(x)
    net.unreparameterize()
    assert torch.equal(scaled, model(x)) and not torch.allclose(scaled, expected["one"], atol=1e-4)


class _Doubled(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, sizes):
        return 2 * self.inner(sizes)


@pytest.mark.parametrize("name", ["vheat_nano", "vmix_nano", "rs_vheat_nano"])
@torch.no_grad()
def test_maps_that_tools_replace(name, randomise):
    """Also by the dictionary of modules, as torch.ao.quantization does."""
    net, x = _network(name, randomise), torch.randn(2, 3, 32, 32)
    net.reparameterize([32])
    before = net(x)
    for stage in net.stages:
        if stage.embedding is not None:
            stage._modules["embedding"] = _Doubled(stage.embedding)
    after = net(x)
    net.reparameterize([32])
    assert all(m.covers(m.stored_sizes[0]) for m in net.modules() if isinstance(m, Precomputed))
    stored = net(x)
    net.unreparameterize()
    torch.testing.assert_close(after, net(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(stored, net(x), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(after, before, atol=1e-4)


def _written_past_versions(net):
    for stage in net.stages:
        if stage.embedding is not None:
            for p in stage.embedding.parameters():
                p.data.add_(0.5)  # as another process does, whose writes this one cannot see


@pytest.mark.parametrize("name", ["vheat_nano", "vmix_nano"])
@torch.no_grad()
def test_memory_that_other_processes_share(name, randomise):
    net, x = _network(name, randomise), torch.randn(2, 3, 32, 32)
    net.share_memory()
    net.reparameterize([32])
    before = net(x)
    _written_past_versions(net)
    after = net(x)
    net.unreparameterize()
    assert torch.equal(after, net(x)) and not torch.equal(after, before)


def test_a_network_made_in_inference_mode(randomise):
    with torch.inference_mode():
        net, x = _network("vheat_nano", randomise), torch.randn(2, 3, 32, 32)
        net.reparameterize([32])
        before = net(x)
        for p in net.stages[0].parameters():
            p.mul_(1.5)
        after = net(x)
        net.unreparameterize()
        assert torch.equal(after, net(x)) and not torch.equal(after, before)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_networks_in_float64(name, randomise):
    net, x = _network(name, randomise).double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = net(x)
    net.reparameterize([32])
    assert all(m.covers(m.stored_sizes[0]) for m in net.modules() if isinstance(m, Precomputed))
    torch.testing.assert_close(net(x), expected, rtol=1e-10, atol=1e-10)
