"""What timm expects of a model, for HiViT and Fast-iTPN on small networks; ``make sweep`` runs timm's own tests."""

from __future__ import annotations

import copy

import official_hivit
import pytest
import timm
import torch
from timm.models import group_modules, group_parameters
from timm.models._features import FeatureGetterNet, FeatureHookNet
from timm.optim import param_groups_weight_decay
from timm_models import images
from torch import nn

import backbones

SIZE = (50, 96)
GRIDS = [(13, 24), (7, 12), (4, 6)]
WIDTHS = [8, 16, 32]
SMALL = {"embed_dim": 32, "depths": (1, 2, 2), "num_heads": 2, "img_size": 64}
both = pytest.mark.parametrize("name", ["hivit_base_patch16_224", "fastitpn_base_patch16_224"])


def create(name: str, **options: object) -> nn.Module:
    """The model by its name, but small, every number of it of order one."""
    torch.manual_seed(0)
    net = timm.create_model(name, **{**SMALL, "num_classes": 5, **options})
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return net


@pytest.mark.parametrize("name", backbones.HIVIT_MODELS)
def test_configuration(name):
    net = timm.create_model(name, device="meta").eval()
    cfg, arch = net.default_cfg, backbones.HIVIT_ARCHS[name.removesuffix("_patch16_224")]
    assert net.num_features == net.head_hidden_size == arch["embed_dim"] and net.output_fmt == "NHWC"
    assert [len(stage.blocks) for stage in net.stages] == list(arch["depths"])
    biased = any(n.endswith("bias.table") for n in net.state_dict())
    assert biased == name.startswith("hivit") and net.stages[2].blocks[0].attn.heads == arch["num_heads"]
    assert f"{cfg['classifier']}.weight" in net.state_dict() and f"{cfg['first_conv']}.weight" in net.state_dict()
    x = torch.zeros(2, *cfg["input_size"], device="meta")
    assert net.forward_features(x).shape == (2, *cfg["pool_size"], net.num_features) and net(x).shape == (2, 1000)
    assert timm.create_model(name, device="meta", relative_bias=False).num_classes == 1000
    with pytest.raises(TypeError, match="unexpected keyword argument 'not_an_argument'"):
        timm.create_model(name, device="meta", not_an_argument=1)


@both
def test_backward_reaches_every_parameter(name):
    gradients = []
    for checkpointing in (False, True):
        net = create(name).train()
        net.set_grad_checkpointing(checkpointing)
        net(images(*SIZE, batch=2)).square().mean().backward()
        gradients.append([p.grad for p in net.parameters()])
        assert all(g is not None and g.isfinite().all() and g.abs().sum() > 0 for g in gradients[-1])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@both
@torch.no_grad()
def test_any_size_is_that_of_the_padded_image(name):
    net = create(name).eval()
    for size in ((50, 96), (7, 33), (1, 1)):
        x = images(*size)
        padded = torch.zeros(1, 3, -(-size[0] // 16) * 16, -(-size[1] // 16) * 16)
        padded[:, :, : size[0], : size[1]] = x
        torch.testing.assert_close(net(x), net(padded))
        for i, (found, whole) in enumerate(zip(net.forward_stages(x), net.forward_stages(padded), strict=True)):
            rows, columns = (-(-n // (4 * 2**i)) for n in size)
            assert found.shape[1:3] == (rows, columns)
            torch.testing.assert_close(found, whole[:, :rows, :columns])


@both
@torch.no_grad()
def test_classifier_and_pooling(name):
    x = images(*SIZE, batch=2)
    net = create(name).eval()
    features = net.forward_features(x)
    norm, fc = net.head.norm, net.get_classifier()
    assert fc is net.get_submodule(net.default_cfg["classifier"])
    torch.testing.assert_close(net(x), fc(norm(features.mean((1, 2)))))
    torch.testing.assert_close(net.forward_head(features, pre_logits=True), norm(features.mean((1, 2))))
    for classes, pool, shape in ((0, None, (2, 32)), (7, "max", (2, 7)), (0, "", (2, 4, 6, 32)), (3, "avg", (2, 3))):
        net.reset_classifier(classes, pool)
        assert net.num_classes == classes and net(x).shape == shape
    assert create(name, drop_rate=0.5).head.drop.p == 0.5


@both
def test_drop_path_rises_over_the_blocks_of_all_stages(name):
    net = create(name, drop_path_rate=0.4)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for stage in net.stages for block in stage.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    x = images(*SIZE)
    assert not torch.equal(net.train()(x), net(x)) and torch.equal(net.eval()(x), net(x))


# -- features ---------------------------------------------------------------------------------------------------------


@both
@torch.no_grad()
def test_features_only(name):
    raw = create(name).eval().forward_stages(images(*SIZE))
    for given, indices in ((None, [0, 1, 2]), ((0, 2), [0, 2]), ((-1,), [2]), (2, [1, 2])):
        net = create(name, features_only=True, **({} if given is None else {"out_indices": given})).eval()
        assert net.feature_info.channels() == [WIDTHS[i] for i in indices]
        assert net.feature_info.reduction() == [4 * 2**i for i in indices]
        for found, i in zip(net(images(*SIZE)), indices, strict=True):
            assert found.shape == (1, WIDTHS[i], *GRIDS[i])
    net = create(name).eval()
    features = FeatureGetterNet(copy.deepcopy(net), out_indices=(0, 1, 2))(images(*SIZE))
    for found, expected in zip(features, raw, strict=True):
        torch.testing.assert_close(found.permute(0, 2, 3, 1), expected)


@pytest.mark.parametrize("name", ["hivit_base_patch16_224", "fastitpn_base_patch16_224", "rs_vheat_nano"])
@pytest.mark.parametrize("kind", ["list", "dict", "hook", "fx", FeatureHookNet])
def test_features_that_would_not_be_maps_are_refused(kind, name):
    """fx gave units, and the maps of each modality, in silence."""
    with pytest.raises(ValueError, match=f"feature_cls must be 'getter' for {name}, whose stages give"):
        timm.create_model(name, features_only=True, feature_cls=kind, device="meta")
    for getter in ("Getter", FeatureGetterNet):
        timm.create_model(name, features_only=True, feature_cls=getter, device="meta")


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_scripting_is_refused_with_the_roads_that_are_open():
    with pytest.raises(TypeError, match=r"use torch\.export, torch\.jit\.trace or torch\.onnx\.export"):
        torch.jit.script(create("hivit_base_patch16_224"))


@both
@torch.no_grad()
def test_forward_intermediates(name):
    net = create(name).eval()
    final, maps = net.forward_intermediates(images(*SIZE))
    assert torch.equal(final, net.forward_features(images(*SIZE)))
    for given, indices in ((2, [1, 2]), (1, [2]), ([0, 2], [0, 2]), ([2, 1], [2, 1]), ([-3], [0])):
        for early in (False, True):
            found = net.forward_intermediates(images(*SIZE), given, stop_early=early, intermediates_only=True)
            assert all(torch.equal(m, maps[i]) for m, i in zip(found, indices, strict=True))
    (last,) = net.forward_intermediates(images(*SIZE), 1, output_fmt="NHWC", intermediates_only=True)
    assert torch.equal(last, final)
    with pytest.raises(ValueError, match="output_fmt must be 'NCHW' or 'NHWC', got 'NLC'"):
        net.forward_intermediates(images(*SIZE), output_fmt="NLC")


@both
def test_pruning(name):
    net = create(name).eval()
    with torch.no_grad():
        logits, maps = net(images(*SIZE)), net.forward_intermediates(images(*SIZE), intermediates_only=True)
        whole = copy.deepcopy(net)
        whole.prune_intermediate_layers([2], prune_head=False)
        torch.testing.assert_close(whole(images(*SIZE)), logits)
    for index in range(3):
        pruned = copy.deepcopy(net)
        assert pruned.prune_intermediate_layers([index - 3], prune_norm=True) == [index]
        assert len(pruned.stages) == index + 1 and pruned.num_features == pruned.head_hidden_size == WIDTHS[index]
        with torch.no_grad():
            torch.testing.assert_close(pruned.forward_features(images(*SIZE)).permute(0, 3, 1, 2), maps[index])
        pruned.train().forward_features(images(*SIZE)).sum().backward()
        assert not [n for n, p in pruned.named_parameters() if p.grad is None]
        pruned.reset_classifier(7, "avg")
        assert pruned(images(*SIZE)).shape == (1, 7)


# -- optimisers -------------------------------------------------------------------------------------------------------


@both
def test_groups(name):
    net = create(name)
    parameters = [n for n, _ in net.named_parameters()]
    layers = group_parameters(net, net.group_matcher(), reverse=True)
    assert sorted(layers) == sorted(parameters)
    expected = {"stem.": 0, "stages.2.positions.": 0, "stages.0.blocks.0.": 1, "stages.1.merge.": 1}
    expected |= {"stages.1.blocks.0.": 2, "stages.1.blocks.1.": 3, "stages.2.merge.": 3}
    expected |= {"stages.2.blocks.0.": 4, "stages.2.blocks.1.": 5, "head.": 6}
    for n, layer in layers.items():
        (start,) = [start for start in expected if n.startswith(start)]
        assert layer == expected[start], n
    coarse = group_parameters(net, net.group_matcher(True), reverse=True)
    assert set(coarse.values()) == {0, 1, 2, 3, 4} and coarse["stages.1.merge.norm.bias"] == 2
    modules = group_modules(net, net.group_matcher(), reverse=True)
    assert set(modules) == {n.rpartition(".")[0] for n in parameters}
    spared = net.no_weight_decay()
    assert "stages.2.positions.weight" in spared and len(spared) == (3 if name.startswith("hivit") else 1)
    groups = param_groups_weight_decay(net, 0.05, no_weight_decay_list=spared)
    kept = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    assert kept == {id(p) for n, p in net.named_parameters() if p.ndim < 2 or n in spared}


# -- device and dtype -------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("init", ["normal", "xavier"])
@torch.no_grad()
def test_from_the_meta_device(name, init):
    torch.manual_seed(0)
    options = {**SMALL, "embed_dim": 64, "init": init, "num_classes": 50}
    fresh = timm.create_model(name, **options)
    net = timm.create_model(name, device="meta", dtype=torch.float64, **options).to_empty(device="cpu")
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.fill_(torch.nan)
    net.init_weights()
    assert {p.dtype for p in net.parameters()} == {torch.float64} and net(images().double()).isfinite().all()
    for n, p in net.named_parameters():  # the same distribution: equal constants, else equal scale
        expected = fresh.get_parameter(n).double()
        if expected.std() > 0:
            assert p.numel() < 500 or 0.8 < p.std() / expected.std() < 1.25, n
        else:
            torch.testing.assert_close(p, expected, msg=n)
    positions = [m.stages[2].positions.weight for m in (net, fresh)]
    assert torch.equal(positions[0].float(), positions[1]) == (init == "xavier")
    loaded = timm.create_model(name, **options)
    loaded.load_state_dict(fresh.state_dict())
    assert torch.equal(loaded.eval()(images()), fresh.eval()(images()))


@both
@torch.no_grad()
def test_dtypes(name):
    net = create(name).double().eval()
    exact = net(images(*SIZE).double())
    torch.testing.assert_close(net.float()(images(*SIZE)), exact.float(), rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net(images(*SIZE)).dtype == torch.bfloat16
    assert net.bfloat16()(images(*SIZE).bfloat16()).dtype == torch.bfloat16


# -- weights ----------------------------------------------------------------------------------------------------------


def test_pretrained_from_a_file(tmp_path):
    state = official_hivit.official(dtype=torch.float32, classes=5)
    torch.save({"model": state}, tmp_path / "x.pth")
    options = {**SMALL, "pretrained": True, "pretrained_cfg_overlay": {"file": str(tmp_path / "x.pth")}}
    net = timm.create_model("hivit_base_patch16_224", num_classes=5, **options)
    assert torch.equal(net.head.fc.weight, state["head.weight"]) and not net.stages[2].blocks[0].bias.table.any()
    with pytest.warns(UserWarning, match="has a classifier of 5 classes and hivit_base_patch16_224 has 1000"):
        timm.create_model("hivit_base_patch16_224", **options)
    grey = timm.create_model("hivit_base_patch16_224", num_classes=3, in_chans=1, **options)
    kernel = state["patch_embed.proj.weight"]
    torch.testing.assert_close(grey.stem.conv.weight, kernel.sum(1, keepdim=True))
    maps = timm.create_model("hivit_base_patch16_224", features_only=True, **{**options, "img_size": 96})
    assert [m.shape[1] for m in maps(images(*SIZE))] == WIDTHS
    with pytest.raises(RuntimeError, match="No pretrained weights exist for hivit_base_patch16_224"):
        timm.create_model("hivit_base_patch16_224", pretrained=True)
    with pytest.raises(ValueError, match="The file is a HiViT of width 32 and depths"):
        timm.create_model("vheat_nano", pretrained=True, pretrained_cfg_overlay=options["pretrained_cfg_overlay"])


def test_pretrained_from_a_pretraining_file_says_what_is_left(tmp_path, caplog):
    state = official_hivit.official(dtype=torch.float32, pyramid=(8, 2), decoder=(64, 1))
    torch.save({"model": {**state, "strange": torch.zeros(1)}}, tmp_path / "x.pth")
    options = {**SMALL, "pretrained": True, "pretrained_cfg_overlay": {"file": str(tmp_path / "x.pth")}}
    net = timm.create_model("hivit_base_patch16_224", num_classes=5, **options)
    assert torch.equal(net.stages[2].blocks[0].attn.qkv.bias, state["blocks.5.attn.qkv.bias"])
    assert "not loaded: pyramid.top.weight, of a part that the model does not have" in caplog.text
    assert "not loaded: strange, no network of this project has such a tensor" in caplog.text
    with pytest.warns(UserWarning, match=r"x\.pth has no classifier: the model's 1000 classes are random"):
        timm.create_model("hivit_base_patch16_224", **options)
    net = timm.create_model("hivit_base_patch16_224", num_classes=1000, **options)
    assert net.head.fc.weight.std() > 0 and torch.equal(net.stem.conv.bias, state["patch_embed.proj.bias"])


# -- bad arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": (1, 2)}, r"depths must be three positive ints, one per stage, got \(1, 2\)"),
        ({"depths": (1, 0, 2)}, "depths must be three positive ints"),
        ({"embed_dim": 30}, "embed_dim must be a positive multiple of 4, got 30"),
        ({"num_heads": 3}, "num_heads must divide embed_dim=32, got 3"),
        ({"form": "slow"}, r"form must be one of \('hivit', 'fast'\), got 'slow'"),
        ({"init": "zeros"}, r"init must be one of \('normal', 'xavier'\), got 'zeros'"),
        ({"form": "fast", "relative_bias": True}, "relative_bias must be False for form='fast'"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate must be in \[0, 1\), got 1.0"),
        ({"img_size": 0}, "img_size must be one or two positive ints, got 0"),
        ({"in_chans": 0}, "in_chans must be >= 1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        backbones.HiViT(**{**SMALL, **options})


def test_images_of_another_kind():
    with pytest.raises(ValueError, match=r"images must have shape \(B, 3, H, W\), got \(1, 1, 50, 96\)"):
        create("hivit_base_patch16_224")(images(*SIZE, channels=1))
