"""What timm expects of a model, for every name: what its own tests ask for, and what its documentation promises.

By default the smallest size of every family runs, and vHeat's tiny where that is cheap; ``make sweep`` runs every size,
and then timm's own tests (tools/timm_tests.py). Graphs made of the networks are in test_timm_graphs.py.
"""

from __future__ import annotations

import copy
import math

import pytest
import timm
import torch
from timm.models import (
    group_modules,
    group_parameters,
)
from timm.models._features import FeatureGetterNet
from timm.optim import param_groups_weight_decay
from timm.utils import reparameterize_model
from timm_models import SIZE, cheap, create, every, images
from torch import nn

import backbones
from backbones import stage_sizes
from spectral_ops import SpectralMixer

GRIDS = stage_sizes(SIZE)


def dims(name: str) -> list[int]:
    return list(backbones.ARCHS[name.rpartition("_")[2]]["dims"])


# -- forward and backward ---------------------------------------------------------------------------------------------


@cheap
@torch.no_grad()
def test_forward(name):
    net = create(name).eval()
    for size in ((224, 224), SIZE):
        logits = net(images(*size))
        assert logits.shape == (1, 1000) and logits.isfinite().all()
    net.set_grad_checkpointing()
    torch.testing.assert_close(net(images()), logits, rtol=1e-4, atol=1e-5)


@every
def test_backward_reaches_every_parameter(name):
    for checkpointing in (False, True):
        net = create(name, num_classes=42, drop_path_rate=0.1).train()
        net.set_grad_checkpointing(checkpointing)
        logits = net(images(batch=2))
        assert logits.shape == (2, 42) and logits.isfinite().all()
        logits.mean().backward()
        assert not [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


@every
@torch.no_grad()
def test_evaluation_is_deterministic_and_dropout_is_not(name):
    net = create(name, drop_rate=0.5, drop_path_rate=0.5)
    assert net.head.drop.p == 0.5
    rates = [getattr(b.drop_path, "drop_prob", 0.0) for s in net.stages for b in s.blocks]
    assert rates == pytest.approx([0.5 * i / (len(rates) - 1) for i in range(len(rates))])
    net.eval()
    assert torch.equal(net(images()), net(images()))
    net.train()
    features = net.eval().forward_features(images())
    assert not torch.equal(net.train().forward_head(features), net.forward_head(features))


# -- configuration ----------------------------------------------------------------------------------------------------


@cheap
def test_configuration(name):
    net = create(name, device="meta", dtype=torch.float32).eval()
    cfg, state = net.default_cfg, net.state_dict()
    assert net.num_classes == cfg["num_classes"] == 1000 and net.in_chans == cfg["input_size"][0] == 3
    assert net.num_features == net.head_hidden_size == dims(name)[-1] and net.output_fmt == "NHWC"
    assert f"{cfg['classifier']}.weight" in state and f"{cfg['first_conv']}.weight" in state
    assert net.get_classifier() is net.get_submodule(cfg["classifier"])
    x = torch.zeros(2, *cfg["input_size"], device="meta")
    features = net.forward_features(x)
    assert features.shape == (2, *cfg["pool_size"], net.num_features)
    assert net.forward_head(features, pre_logits=True).shape == (2, net.head_hidden_size)
    assert net.to(torch.bfloat16)(x.to(torch.bfloat16)).dtype == torch.bfloat16
    with pytest.raises(TypeError, match="unexpected keyword argument 'not_an_argument'"):
        timm.create_model(name, device="meta", not_an_argument=1)


@cheap
@torch.no_grad()
def test_classifier_and_pooling(name):
    x, grid, width = images(32, 64, batch=2), (1, 2), dims(name)[-1]
    net = create(name)
    for classes, pool, shape in (
        (0, None, (2, width)),
        (0, "", (2, *grid, width)),
        (5, "", (2, *grid, 5)),
        (5, "max", (2, 5)),
        (7, None, (2, 7)),
        (0, "catavgmax", (2, 2 * width)),
        (7, None, (2, 7)),
    ):
        net.reset_classifier(classes, pool)
        assert net.num_classes == classes and net(x).shape == shape
        pooled = net.forward_head(net.forward_features(x), pre_logits=True)
        assert pool == "" or pooled.shape == (2, net.head_hidden_size)
        if classes == 0:
            anew = create(name, num_classes=0, global_pool="avg" if pool is None else pool)
            assert anew(x).shape == shape and anew.head_hidden_size == net.head_hidden_size


@every
@torch.no_grad()
def test_reset_classifier_keeps_the_pooling(name):
    net = create(name, global_pool="max").eval()
    features = net.forward_features(images())
    net.reset_classifier(5)
    torch.testing.assert_close(net.forward_head(features, pre_logits=True), features.amax((1, 2)))
    net.reset_classifier(5, "avg")
    torch.testing.assert_close(net.forward_head(features, pre_logits=True), features.mean((1, 2)))


@cheap
@pytest.mark.parametrize("options", [{"in_chans": 1}, {"in_chans": 5}, {"img_size": SIZE}, {"img_size": 96}])
def test_input(name, options):
    net = create(name, device="meta", **options)
    channels = options.get("in_chans", 3)
    assert net.in_chans == channels and net.stem.conv1.in_channels == channels
    assert net(torch.zeros(1, channels, 70, 50, device="meta")).shape == (1, 1000)
    for stage, sizes in zip(net.stages, stage_sizes(options.get("img_size", 224)), strict=True):
        assert stage.embedding is None or tuple(stage.embedding.weight.shape[:2]) == sizes


# -- device and dtype -------------------------------------------------------------------------------------------------


@cheap
@pytest.mark.parametrize("dtype", [None, torch.float64, torch.bfloat16])
def test_device_and_dtype(name, dtype):
    net = create(name, device="meta", dtype=dtype).eval().requires_grad_(False)
    for _ in range(2):
        tensors = [*net.parameters(), *net.buffers()]
        assert {(t.device.type, t.dtype) for t in tensors} == {("meta", dtype or torch.float32)}
        assert not any(module.training for module in net.modules())
        trainable = [n for n, p in net.named_parameters() if p.requires_grad and not n.startswith("head.")]
        assert not trainable
        net.reset_classifier(0)
        net.reset_classifier(3)


@every
def test_dtype_on_the_cpu(name):
    net = create(name, device="cpu", dtype=torch.float64, num_classes=5).eval()
    logits = net(images().double())
    assert logits.dtype == torch.float64 and logits.isfinite().all()
    torch.testing.assert_close(net.float()(images()), logits.float(), rtol=1e-3, atol=1e-3)
    net.bfloat16()
    assert net(images().bfloat16()).dtype == torch.bfloat16


def poisoned(name: str, **options) -> nn.Module:
    """Made on the meta device and brought to the CPU, every number in it nan."""
    net = create(name, device="meta", num_classes=5, **options).to_empty(device="cpu").eval()
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.fill_(math.nan)
    return net


@every
@torch.no_grad()
def test_from_the_meta_device_by_initialising(name):
    net, fresh = poisoned(name, dtype=torch.float64), create(name, num_classes=5).double()
    net.init_weights()
    assert net(images().double()).isfinite().all()
    for n, p in net.named_parameters():  # the same distribution: equal constants, else equal scale
        expected = fresh.get_parameter(n)
        if expected.numel() > 1 and expected.std() > 0:
            assert p.abs().max() <= 2 * expected.abs().max() + 1e-3, n
            assert p.numel() < 500 or 0.8 < p.std() / expected.std() < 1.25, n
        else:
            torch.testing.assert_close(p, expected, msg=n)


@every
@torch.no_grad()
def test_from_the_meta_device_by_loading(name):
    """The state dict holds everything: there are no other buffers to fill."""
    source, net = create(name, num_classes=5).eval(), poisoned(name)
    assert {n for n, _ in net.named_buffers()} <= set(net.state_dict())
    net.load_state_dict(source.state_dict())
    assert torch.equal(net(images()), source(images()))


# -- features ---------------------------------------------------------------------------------------------------------


def check_maps(maps, name, indices, batch=1, last=False):
    assert len(maps) == len(indices)
    for i, m in zip(indices, maps, strict=True):
        shape = (*GRIDS[i], dims(name)[i]) if last else (dims(name)[i], *GRIDS[i])
        assert m.shape == (batch, *shape) and m.isfinite().all()


@cheap
@torch.no_grad()
def test_features_only(name):
    for given, indices in ((None, [0, 1, 2, 3]), ((0, 2), [0, 2]), ((-1,), [3]), ((-3, -2), [1, 2]), (2, [2, 3])):
        net = create(name, features_only=True, **({} if given is None else {"out_indices": given})).eval()
        check_maps(net(images()), name, indices)
        assert net.feature_info.channels() == [dims(name)[i] for i in indices]
        assert net.feature_info.reduction() == [4 * 2**i for i in indices]
        assert [info["module"] for info in net.feature_info.get_dicts()] == [f"stages.{i}" for i in indices]
        assert not {"num_classes", "classifier"} & set(net.pretrained_cfg)


@every
@pytest.mark.parametrize("kind", ["list", "dict", "hook", "fx"])
@torch.no_grad()
def test_features_by_other_means(name, kind):
    expected = create(name, features_only=True, out_indices=(0, 3)).eval()(images())
    net = create(name, features_only=True, out_indices=(0, 3), feature_cls=kind).eval()
    maps = net(images())
    for found, e in zip(maps.values() if kind == "dict" else maps, expected, strict=True):
        torch.testing.assert_close(found.permute(0, 3, 1, 2), e)
    assert str(net.output_fmt) in ("NHWC", "Format.NHWC")


@cheap
@torch.no_grad()
def test_forward_intermediates(name):
    net = create(name).eval()
    final, maps = net.forward_intermediates(images())
    check_maps(maps, name, range(4))
    torch.testing.assert_close(final, net.forward_features(images()), rtol=1e-5, atol=1e-8)
    for given, indices in ((2, [2, 3]), (1, [3]), ([0, 2], [0, 2]), ((-4, -1), [0, 3]), ([3, 1], [1, 3])):
        for early in (False, True):
            found = net.forward_intermediates(images(), given, stop_early=early, intermediates_only=True)
            order = indices if given != [3, 1] else [3, 1]
            assert all(torch.equal(m, maps[i]) for m, i in zip(found, order, strict=True))
    last = net.forward_intermediates(images(), 1, norm=True, output_fmt="NHWC", intermediates_only=True)
    assert torch.equal(last[0], final)
    cut, (first,) = net.forward_intermediates(images(), [0], norm=True, stop_early=True)
    assert torch.equal(first, maps[0]) and torch.equal(cut.permute(0, 3, 1, 2), maps[0])
    net.set_grad_checkpointing()
    torch.testing.assert_close(net.forward_intermediates(images())[0], final, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("indices", "message"), [(5, "last-n"), (0, "last-n"), ([4], "out of range"), ([-5], "range")])
def test_stages_that_do_not_exist(indices, message):
    with pytest.raises(AssertionError, match=message):
        create("vheat_nano").forward_intermediates(images(), indices)


@every
def test_pruning(name):
    net = create(name, drop_rate=0.5).eval()
    with torch.no_grad():
        logits, maps = net(images()), net.forward_intermediates(images(), intermediates_only=True)
        whole = copy.deepcopy(net)
        whole.prune_intermediate_layers([3], prune_head=False)
        torch.testing.assert_close(whole(images()), logits)
    for index in range(4):
        pruned = copy.deepcopy(net)
        taken = pruned.prune_intermediate_layers([index - 4], prune_norm=True)
        assert taken == [index] and len(pruned.stages) == index + 1
        assert pruned.num_features == pruned.head_hidden_size == dims(name)[index]
        with torch.no_grad():
            (found,) = pruned.forward_intermediates(images(), taken, norm=True, intermediates_only=True)
            torch.testing.assert_close(found, maps[index])
            torch.testing.assert_close(pruned.forward_features(images()).permute(0, 3, 1, 2), maps[index])
            assert torch.equal(pruned(images()), pruned(images()))
            pruned.reset_classifier(7, "avg")
            assert pruned(images()).shape == (1, 7)
        pruned.reset_classifier(0, "")
        pruned.train().forward_features(images()).sum().backward()
        assert not [n for n, p in pruned.named_parameters() if p.grad is None]


@every
def test_features_with_the_final_norm_train_every_parameter(name):
    net = FeatureGetterNet(create(name), out_indices=(1, 3), norm=True).train()
    sum(m.sum() for m in net(images())).backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None]


# -- optimisers -------------------------------------------------------------------------------------------------------


@cheap
def test_groups(name):
    net = create(name, device="meta")
    parameters = [n for n, _ in net.named_parameters()]
    depth = sum(backbones.ARCHS[name.rpartition("_")[2]]["depths"])
    for coarse in (False, True):
        layers = group_parameters(net, net.group_matcher(coarse), reverse=True)
        assert sorted(layers) == sorted(parameters)
        inner = {layer for n, layer in layers.items() if n.startswith("stages.")}
        if coarse:
            assert inner == {1, 2, 3, 4}
        else:  # a layer for each block, and one for each downsampling with the embedding behind it
            assert inner == set(range(1, max(inner) + 1)) and len(inner) in (depth, depth + 3, depth + 4)
        assert layers["stem.conv1.weight"] == 0 and layers["head.fc.weight"] == max(layers.values())
        modules = group_modules(net, net.group_matcher(coarse), reverse=True)
        assert set(modules) == {n.rpartition(".")[0] for n in parameters}
    assert set(net.no_weight_decay()) <= set(parameters)
    groups = param_groups_weight_decay(net, 0.05, no_weight_decay_list=net.no_weight_decay())
    spared = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    expected = {n for n in parameters if net.get_parameter(n).ndim < 2} | net.no_weight_decay()
    assert spared == {id(net.get_parameter(n)) for n in expected}


@pytest.mark.parametrize("wrap", [lambda net: net, torch.nn.Sequential], ids=["model", "inside another"])
@torch.no_grad()
def test_timms_tool_for_deployment(wrap):
    """It calls ``reparameterize()`` of every child, without sizes, in a copy."""
    net = timm.create_model("vheat_nano", num_classes=5, img_size=96).eval()
    model, x = wrap(net), torch.randn(1, 3, 96, 96)
    deployed = reparameterize_model(torch.nn.ModuleList([model]))[0]
    torch.testing.assert_close(deployed(x), net(x))
    stored = [m.operator.stored_sizes for m in deployed.modules() if isinstance(m, SpectralMixer)]
    assert stored[0] == [(24, 24)] and stored[-1] == [(3, 3)] and "gain" not in str(net.state_dict().keys())
