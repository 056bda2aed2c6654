"""What wraps, replaces, hooks, prunes, quantises, offloads or counts layers reaches every layer of every family."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel
from torch.utils.flop_counter import FlopCounterMode

from backbones import FAMILIES

NETWORKS = sorted(f"{family}_nano" for family in FAMILIES)
pytestmark = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture
def net(name):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=2).eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def _linears(net):
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.Linear)}


def test_every_linear_is_called(net, x):
    called = []
    for name, layer in _linears(net).items():
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
    net(x)
    assert sorted(set(called)) == sorted(_linears(net))


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
def test_dynamic_quantisation_replaces_every_linear(net, x):
    expected = net(x)
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
    kinds = {type(quantised.get_submodule(name)) for name in _linears(net)}
    assert kinds == {torch.ao.nn.quantized.dynamic.Linear}
    found = quantised(x)
    assert found.shape == expected.shape and not torch.equal(found, expected)
    assert (found - expected).norm() < 0.1 * expected.norm()


def test_counters_by_exact_type_count_what_dispatch_counts(net, x):
    counted = []

    def count(layer, args, y):
        counted.append(y.numel() * layer.in_features)

    for layer in net.modules():
        if type(layer) is nn.Linear:
            layer.register_forward_hook(count)
    with FlopCounterMode(display=False) as flops:
        net(x)
    by_operator = flops.get_flop_counts()["Global"]
    products = sum(by_operator.get(op, 0) for op in (torch.ops.aten.addmm, torch.ops.aten.mm))
    assert sum(counted) <= products // 2 and sum(counted) > 0.9 * products // 2  # the rest are transforms


@torch.no_grad()
def test_pruning_and_reparametrised_weights_take_effect(net, x):
    expected, normed = net(x), copy.deepcopy(net)
    for layer in _linears(normed).values():
        parametrizations.weight_norm(layer)
        layer.parametrizations.weight.original0 *= 2
    assert not torch.allclose(normed(x), expected, atol=1e-4)
    prune.global_unstructured([(layer, "weight") for layer in _linears(net).values()], prune.L1Unstructured, amount=0.5)
    pruned = net(x)
    assert not torch.allclose(pruned, expected, atol=1e-4)
    for layer in _linears(net).values():
        prune.remove(layer, "weight")
    assert torch.equal(net(x), pruned)


def test_weights_given_to_a_call_and_averages_of_weights(net, x):
    expected = net(x)
    other = timm.create_model(f"{net.pretrained_cfg['architecture']}", num_classes=2).eval()
    torch.testing.assert_close(functional_call(other, dict(net.state_dict()), (x,)), expected)
    average = AveragedModel(net)
    average.update_parameters(net)
    torch.testing.assert_close(average.eval()(x), expected)
