"""The hierarchical network: sizes, layout, timm's contract, deployment, errors."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import timm
import torch
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from backbones import SpectralNet, heat_operator, stage_sizes
from spectral_ops import Heat, Precomputed, Softplus, SpectralEmbedding

DIMS = (8, 12, 16, 20)


def _image(*size, batch=1, dtype=torch.float32, seed=1):
    return torch.randn(batch, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(seed))


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (32, 129), (100, 64), (64, 64)])
def test_any_size_from_32_px(net, size):
    features = net.forward_intermediates(_image(*size), intermediates_only=True)
    assert [(f.shape[2], f.shape[3]) for f in features] == stage_sizes(size)
    assert [f.shape[1] for f in features] == list(DIMS)
    assert net(_image(*size)).shape == (1, 7) and all(f.isfinite().all() for f in features)


def test_sizes_that_change_from_call_to_call_do_not_interfere(net, make_net):
    sizes = [(64, 64), (32, 80), (64, 64), (80, 32), (32, 80)]
    together = [net(_image(*size)) for size in sizes]
    for size, logits in zip(sizes, together, strict=True):
        alone = make_net().eval()
        alone.load_state_dict(net.state_dict())
        assert torch.equal(alone(_image(*size)), logits)


def test_transposed_images_are_told_apart(net):
    assert not torch.allclose(net(_image(32, 80)), net(_image(32, 80).mT), atol=1e-4)


def test_a_batch_is_its_images(net):
    net.double()
    x = _image(64, 48, batch=3, dtype=torch.float64)
    torch.testing.assert_close(net(x), torch.cat([net(x[i : i + 1]) for i in range(3)]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_image_leaves_the_others_untouched(net, value):
    x = _image(64, 64, batch=3)
    bad = x.clone()
    bad[1, 0, 5, 7] = value
    with torch.no_grad():
        clean, spoilt = net(x), net(bad)
    assert torch.equal(clean[[0, 2]], spoilt[[0, 2]]) and spoilt[1].isnan().any()


def test_stage_sizes():
    assert stage_sizes(224) == [(56, 56), (28, 28), (14, 14), (7, 7)]
    assert stage_sizes((100, 64), 2) == [(25, 16), (13, 8)]


@pytest.mark.parametrize("stages", [1, 3])
def test_other_numbers_of_stages(stages, make_net):
    net = make_net(dims=DIMS[:stages], depths=(1,) * stages)
    assert net(_image(64, 64)).shape == (1, 7) and len(net.feature_info) == stages


# -- layout -----------------------------------------------------------------------------------------------------------


class _Copies(TorchDispatchMode):
    """Records the shapes of batches that are copied or laid out anew."""

    def __init__(self, batch):
        super().__init__()
        self.batch, self.shapes = batch, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        copies = any(word in str(func) for word in ("clone", "copy", "contiguous"))
        if copies and args[0].ndim > 2 and args[0].shape[0] == self.batch:
            self.shapes.append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels_last", [False, True])
def test_maps_are_channels_last_without_copies(net, channels_last):
    x = _image(64, 96, batch=5)
    layouts = []
    for name, module in net.named_modules():
        if isinstance(module, (nn.LayerNorm, nn.Linear)) and not re.search("^head|^norm|diffusivity", name):
            module.register_forward_pre_hook(lambda _, inputs, name=name: layouts.append((name, inputs[0])))
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), _Copies(5) as copies:
        net.forward_features(x)
    assert copies.shapes == ([] if channels_last else [(5, 3, 64, 96)])
    assert len(layouts) > 50 and all(t.is_contiguous() for _, t in layouts)


# -- timm's contract --------------------------------------------------------------------------------------------------


def test_features_only_gives_the_maps_before_the_norm():
    torch.manual_seed(0)
    model = timm.create_model("vheat_nano", img_size=64).eval()
    features = timm.create_model("vheat_nano", features_only=True, img_size=64).eval()
    features.model.load_state_dict(model.state_dict(), strict=False)
    expected = model.forward_intermediates(_image(64, 64), intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(features(_image(64, 64)), expected, strict=True))


def test_forward_is_features_then_head(net):
    x = _image(64, 64)
    features = net.forward_features(x)
    assert features.shape == (1, 2, 2, 20)
    pooled = net.forward_head(features, pre_logits=True)
    torch.testing.assert_close(pooled, features.mean((1, 2)))
    torch.testing.assert_close(net(x), net.head.fc(pooled))


def test_stop_early_runs_no_later_stage(net):
    ran = []
    for i, stage in enumerate(net.stages):
        stage.register_forward_hook(lambda *_, i=i: ran.append(i))
    net.forward_intermediates(_image(64, 64), indices=[0, 1], stop_early=True, intermediates_only=True)
    assert ran == [0, 1]


def test_groups_for_layer_decay_rise_with_depth(net):
    groups = group_parameters(net, net.group_matcher())
    of = {name: group for group, names in groups.items() for name in names}
    assert set(of) == {name for name, _ in net.named_parameters()}
    order = [
        "stem.conv1.weight",
        "stages.0.blocks.0.norm1.weight",
        "stages.1.blocks.0.norm1.weight",
        "stages.1.blocks.1.norm1.weight",
        "stages.2.blocks.0.norm1.weight",
        "stages.2.blocks.1.norm1.weight",
        "stages.3.blocks.0.norm1.weight",
        "head.fc.weight",
    ]
    assert [of[name] for name in order] == list(range(8))
    assert of["stages.1.downsample.conv.weight"] == of["stages.1.embedding.weight"] == 2
    assert of["stages.1.blocks.1.mixer.operator.diffusivity.linear.bias"] == 3
    assert of["norm.weight"] == 6
    coarse = group_parameters(net, net.group_matcher(coarse=True))
    assert [len({n.split(".")[1] for n in coarse[i]}) for i in range(1, 5)] == [1, 1, 1, 1] and len(coarse) == 6


def test_weight_decay_spares_one_dimensional_tensors_only(net):
    assert net.no_weight_decay() == set()
    decayed = {
        id(p)
        for group in param_groups_layer_decay(net, weight_decay=0.05, layer_decay=0.8)
        for p in group["params"]
        if group["weight_decay"] > 0
    }
    assert decayed == {id(p) for p in net.parameters() if p.ndim > 1}
    assert id(net.stages[0].embedding.weight) in decayed


def test_gradient_checkpointing_gives_the_same_gradients(make_net, randomise):
    grads = []
    for enable in (False, True):
        net = randomise(make_net(post=True)).train()
        net.set_grad_checkpointing(enable)
        assert all(stage.grad_checkpointing == enable for stage in net.stages)
        net(_image(32, 64, batch=2)).square().sum().backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    for name, grad in grads[0].items():
        assert grad.abs().sum() > 0, name
        assert torch.equal(grad, grads[1][name]), name


def test_drop_path_rises_linearly(make_net):
    blocks = [block for stage in make_net(drop_path_rate=0.5).stages for block in stage.blocks]
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    blocks = [block for stage in make_net().stages for block in stage.blocks]
    assert all(isinstance(block.drop_path, nn.Identity) for block in blocks)


def test_embedding_resize_rule(make_net):
    nets = {rule: make_net(embed_resize=rule).eval() for rule in ("bicubic", "pad")}
    with torch.no_grad():
        for net in nets.values():
            for i, p in enumerate(net.parameters()):
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(i)) * 0.3)
    same, other = _image(64, 64), _image(96, 96)
    assert torch.equal(nets["bicubic"](same), nets["pad"](same))
    assert not torch.allclose(nets["bicubic"](other), nets["pad"](other), rtol=1e-4)


# -- another operator -------------------------------------------------------------------------------------------------


def test_any_operator():
    net = SpectralNet(
        lambda c: 0.5 * Heat(Softplus(0.3, (c,)), dims=(1, 2)) + Heat(2.0, dims=(1, 2)), dims=(8, 12), depths=(1, 1)
    ).eval()
    assert all(stage.embedding is None for stage in net.stages)
    expected = net(_image(64, 48))
    net.reparameterize([(64, 48)], keep_source=False)
    assert torch.equal(net(_image(64, 48)), expected)


# -- deployment -------------------------------------------------------------------------------------------------------


def test_reparameterize_for_several_sizes_is_exact_and_can_be_undone(net):
    sizes = [(64, 64), (96, 64), (80, 80)]
    state = {name: t.clone() for name, t in net.state_dict().items()}
    expected = [net(_image(*size)) for size in sizes]
    net.reparameterize([64, (96, 64)])
    assert not net.state_dict().keys() >= state.keys()
    for size, logits in zip(sizes, expected, strict=True):  # the last has no stored gain: through the physics
        assert torch.equal(net(_image(*size)), logits)
    net.reparameterize([80])
    assert net.stages[0].blocks[0].mixer.operator.stored_sizes == [(16, 16), (24, 16), (20, 20)]
    assert torch.equal(net(_image(80, 80)), expected[2])
    net.unreparameterize()
    assert list(net.state_dict()) == list(state)
    assert all(torch.equal(t, state[name]) for name, t in net.state_dict().items())
    assert torch.equal(net(_image(64, 64)), expected[0])


@torch.no_grad()
def test_stored_gains_are_really_used(net):
    before = net(_image(64, 64))
    net.reparameterize([64])
    net.stages[0].blocks[0].mixer.operator.gain_16x16.zero_()
    assert not torch.allclose(net(_image(64, 64)), before)


@pytest.mark.parametrize("change", ["loads", "steps", "embeds", "exchanges"])
def test_stored_gains_give_way_to_changed_weights(net, change):
    net.reparameterize([64])
    parameters = dict(net.named_parameters())
    if change == "loads":
        net.load_state_dict({name: t + 0.1 * torch.randn_like(t) for name, t in parameters.items()}, strict=False)
    elif change == "steps":
        optimizer = torch.optim.SGD(parameters.values(), lr=1e-3)
        net.train()(_image(64, 64)).sum().backward()
        assert all(p.grad is not None for p in parameters.values())
        optimizer.step()
    elif change == "exchanges":
        net.stages[0].embedding = SpectralEmbedding((16, 16), DIMS[0])
    else:
        with torch.no_grad():
            net.stages[0].embedding.weight.mul_(2)
    with torch.no_grad():
        found = net.eval()(_image(64, 64))
        net.unreparameterize()
        assert torch.equal(found, net(_image(64, 64)))


def test_without_the_source_the_network_is_smaller_and_fixed(net):
    expected, full = net(_image(64, 64)), sum(p.numel() for p in net.parameters())
    net.reparameterize([64], keep_source=False)
    assert sum(p.numel() for p in net.parameters()) < full
    operators = [block.mixer.operator for stage in net.stages for block in stage.blocks]
    assert all(isinstance(operator, Precomputed) and operator.source is None for operator in operators)
    assert torch.equal(net(_image(64, 64)), expected)
    with pytest.raises(ValueError, match=r"no gain is stored for a grid of \(24, 24\)"):
        net(_image(96, 96))
    with pytest.raises(ValueError, match="gains only"):
        net.reparameterize([96])
    with pytest.raises(ValueError, match="nothing to restore"):
        net.unreparameterize()


@pytest.mark.parametrize("reparameterised", [False, True])
def test_deepcopy(net, reparameterised):
    if reparameterised:
        net.reparameterize([64])
    twin = copy.deepcopy(net)
    assert torch.equal(twin(_image(64, 64)), net(_image(64, 64)))
    with torch.no_grad():
        twin.stages[0].blocks[0].mixer.proj.bias.add_(1)
    assert not torch.equal(twin(_image(64, 64)), net(_image(64, 64)))


def test_bfloat16_autocast_is_close(net):
    x = _image(64, 64)
    expected = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(x)
    assert 0 < ((logits.float() - expected).norm() / expected.norm()).item() < 0.05


@pytest.mark.parametrize("reparameterised", [False, True])
def test_export(net, reparameterised):
    x = _image(64, 96)
    if reparameterised:
        net.reparameterize([(64, 96)], keep_source=False)
    program = torch.export.export(net, (x,))
    torch.testing.assert_close(program.module()(x), net(x))


def test_export_with_precomputed_gains_computes_no_physics(net):
    x = _image(64, 96)
    net.reparameterize([(64, 96)])
    counts = []
    for keep_source in (True, False):
        net.reparameterize([(64, 96)], keep_source=keep_source)
        program = torch.export.export(net, (x,))
        torch.testing.assert_close(program.module()(x), net(x))
        counts.append(sum(node.op == "call_function" for node in program.graph.nodes))
    assert counts[0] == counts[1]


def test_meta_device():
    with torch.device("meta"):
        net = SpectralNet(heat_operator, dims=DIMS, depths=(1, 1, 1, 1), drop_path_rate=0.1)
        assert net(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    assert all(p.is_meta for p in net.parameters())


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (3, 64, 64), (1, 64, 64, 3)])
def test_images_of_other_channels(net, shape):
    with pytest.raises(ValueError, match=r"images must have shape \(B, 3, H, W\)") as caught:
        net(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1)])
def test_images_under_32_px(net, size):
    with pytest.raises(ValueError, match="at least 32 px high and wide") as caught:
        net(_image(*size))
    assert str((1, 3, *size)) in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": (1, 1)}, r"one per stage, got dims=\(8, 12, 16, 20\), depths=\(1, 1\)"),
        ({"dims": (), "depths": ()}, "one per stage"),
        ({"depths": (1, 1, 0, 1)}, "must be positive ints"),
        ({"depths": (1, 1, 1.5, 1)}, "must be positive ints"),
        ({"dims": (8, 12, -16, 20)}, "must be positive ints"),
        ({"norm_placement": "mid"}, r"norm_placement must be one of \('pre', 'post'\), got 'mid'"),
        ({"image": 31}, "img_size must be one or two ints of at least 32, got 31"),
        ({"image": (64, 64, 64)}, "img_size must be one or two ints"),
        ({"image": 64.0}, "img_size must be one or two ints"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate must be in \[0, 1\), got 1.0"),
        ({"drop_path_rate": -0.1}, "drop_path_rate must be"),
        ({"embed_resize": "bilinear"}, r"embed_resize must be one of \('bicubic', 'pad'\), got 'bilinear'"),
        ({"in_chans": 0}, "in_chans must be >= 1"),
        ({"classes": -1}, "num_classes >= 0"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message, make_net):
    with pytest.raises(ValueError, match=message):
        make_net(**arguments)


def test_unknown_arguments_are_not_swallowed(make_net):
    with pytest.raises(TypeError, match="drop_pathrate"):
        make_net(drop_pathrate=0.1)


def test_an_unknown_output_format(net):
    with pytest.raises(ValueError, match="output_fmt must be 'NCHW' or 'NHWC', got 'NLC'"):
        net.forward_intermediates(_image(64, 64), output_fmt="NLC")


def test_sizes_to_precompute_are_checked(net):
    with pytest.raises(ValueError, match="at least 32, got 16"):
        net.reparameterize([16])


def test_the_order_of_names_is_that_of_files_written_before():
    names = list(timm.create_model("vheat_nano", device="meta").stages[1].state_dict())
    assert names[:4] == ["downsample.conv.weight", "downsample.norm.weight", "downsample.norm.bias", "embedding.weight"]
    assert names[4].startswith("blocks.0.norm1")


def test_one_size_where_a_list_is_expected(net):
    with pytest.raises(TypeError, match=r"sizes must be a list of image sizes, such as \[64\] for one, got 64"):
        net.reparameterize(64)


def test_numbers_of_numpy():
    n = np.int64
    net = SpectralNet(
        heat_operator, dims=(n(8), n(16)), depths=[n(1), n(1)], img_size=n(64), num_classes=n(3), in_chans=n(3)
    )
    assert type(net.num_features) is type(net.num_classes) is type(net.img_size[0]) is int
    net.eval().reparameterize([n(64), (n(64), n(96))])
    assert net(torch.randn(1, 3, 64, 96)).shape == (1, 3)
    for bad in (True, 8.0, np.float64(8)):
        with pytest.raises(ValueError, match="dims and depths must be positive ints"):
            SpectralNet(heat_operator, dims=(bad,), depths=(1,))
        with pytest.raises(ValueError, match="num_classes >= 0, both ints"):
            SpectralNet(heat_operator, dims=(8,), depths=(1,), num_classes=bad)
