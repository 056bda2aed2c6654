"""Official names to ours and back."""

from __future__ import annotations

import re

import pytest
import torch

from backbones import convert_checkpoint, to_official

FORMS = [{}, {"post": True}, {"precomputed": True}, {"dense": True}, {"post": True, "precomputed": True, "dense": True}]
_ids = ["-".join(form) or "plain" for form in FORMS]


def _equal(a, b):
    assert set(a) == set(b)
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("form", FORMS, ids=_ids)
def test_every_official_name_has_a_place_and_the_way_back(form, official):
    state = official(**form)
    converted, missing, unexpected, reasons = convert_checkpoint(state)
    assert missing == [] and unexpected == [] and reasons == {}
    assert all(re.match(r"(stem|stages|norm|head|out_norms)\.", name) for name in converted)
    _equal(to_official(converted), state)


def test_names_and_layouts(official):
    state = official(post=True)
    ours = convert_checkpoint(state).state_dict
    mixer = "stages.2.blocks.1.mixer"
    value, gate = state["layers.2.1.op.linear.weight"].split(16)
    expected = {
        "stem.conv1.weight": state["patch_embed.conv1.weight"],
        "stem.norm2.bias": state["patch_embed.norm2.1.bias"],
        "stages.3.embedding.weight": state["freq_embed.3"],
        f"{mixer}.dwconv.weight": state["layers.2.1.op.dwconv.weight"],
        f"{mixer}.value.weight": value,
        f"{mixer}.gate.weight": gate,
        f"{mixer}.value.bias": state["layers.2.1.op.linear.bias"][:16],
        f"{mixer}.gate.bias": state["layers.2.1.op.linear.bias"][16:],
        f"{mixer}.norm.weight": state["layers.2.1.op.out_norm.weight"],
        f"{mixer}.proj.bias": state["layers.2.1.op.out_linear.bias"],
        f"{mixer}.operator.diffusivity.linear.weight": state["layers.2.1.op.to_k.0.weight"],
        "stages.2.blocks.1.mlp.fc1.weight": state["layers.2.1.mlp.fc1.weight"][:, :, 0, 0],
        "stages.2.blocks.1.mlp.fc2.bias": state["layers.2.1.mlp.fc2.bias"],
        "stages.2.blocks.1.norm2.bias": state["layers.2.1.norm2.bias"],
        "stages.2.blocks.1.scale1.gamma": state["layers.2.1.gamma1"],
        "stages.2.blocks.1.scale2.gamma": state["layers.2.1.gamma2"],
        "stages.1.downsample.conv.weight": state["layers.0.1.0.weight"],
        "stages.3.downsample.norm.bias": state["layers.2.2.1.bias"],
        "norm.weight": state["classifier.0.weight"],
        "head.fc.bias": state["classifier.3.bias"],
    }
    for name, tensor in expected.items():
        assert torch.equal(ours[name], tensor), name


def test_dense_and_precomputed_names(official):
    state = official(dense=True, precomputed=True)
    ours = convert_checkpoint(state).state_dict
    assert torch.equal(ours["out_norms.1.weight"], state["outnorm1.weight"])
    assert torch.equal(ours["stages.1.blocks.0.mixer.operator.gain_8x8"], state["layers.1.0.op.k_exp"])
    assert not any(name.startswith(("norm", "head")) or "embedding" in name for name in ours)


@pytest.mark.parametrize("form", FORMS[:2], ids=_ids[:2])
def test_the_converted_names_are_those_of_the_network(form, official, make_net):
    assert set(convert_checkpoint(official(**form)).state_dict) == set(make_net(**form).state_dict())


def test_a_network_with_gains_only_exports(make_net, official_shapes):
    net = make_net()
    net.reparameterize([64], keep_source=False)
    exported = to_official(net.state_dict())
    expected = official_shapes((8, 12, 16, 20), (1, 2, 2, 1), image=64, precomputed=True, classes=7)
    assert {name: tuple(t.shape) for name, t in exported.items()} == expected


@pytest.mark.parametrize(
    "prefix", ["module.", "backbone.", "_orig_mod.", "model.net.", "backbone.encoder.module.", "anything.0."]
)
def test_prefixes(prefix, official):
    state = official()
    converted = convert_checkpoint({prefix + name: t for name, t in state.items()})
    assert converted.missing == [] and converted.unexpected == []
    _equal(converted.state_dict, convert_checkpoint(state).state_dict)


def test_other_parts_of_a_detector_are_left_out(official):
    state = official(dense=True)
    file = {f"backbone.{name}": t for name, t in state.items()}
    file |= {"neck.conv.weight": torch.zeros(2), "classifier.0.weight": torch.zeros(2)}
    converted = convert_checkpoint(file)
    assert converted.missing == [] and converted.unexpected == []
    _equal(converted.state_dict, convert_checkpoint(state).state_dict)


def test_two_names_that_become_one():
    with pytest.raises(ValueError, match=r"'layers\.0\.0\.op\.to_k\.0\.bias' under two names"):
        convert_checkpoint({f"layers.0.0.op.{k}.0.bias": torch.zeros(1) for k in ("to_k", "to_time")})


def test_older_files_call_k_time(official):
    state = official()
    old = {name.replace(".to_k.", ".to_time."): t for name, t in state.items()}
    assert set(old) != set(state)
    converted = convert_checkpoint(old)
    assert converted.missing == [] and converted.unexpected == []
    _equal(converted.state_dict, convert_checkpoint(state).state_dict)


@pytest.mark.parametrize("form", FORMS, ids=_ids)
def test_every_missing_name_is_listed(form, official):
    state = official(**form)
    for name in state:
        rest = {n: t for n, t in state.items() if n != name}
        assert convert_checkpoint(rest).missing == [name], name


@pytest.mark.parametrize("block", ["layers.2.0.", "layers.2.1.", "layers.3.1."])
def test_a_missing_block_is_listed(block, official):
    state = official(depths=(1, 2, 2, 3))
    gone = sorted(n for n in state if n.startswith(block))
    rest = {n: t for n, t in state.items() if n not in gone}
    assert sorted(convert_checkpoint(rest).missing) == gone


def test_a_missing_stage_is_listed(official):
    state = official()
    stage = sorted(n for n in state if n.startswith("layers.3.") or n == "freq_embed.3")
    rest = {n: t for n, t in state.items() if n not in stage}
    assert sorted(convert_checkpoint(rest).missing) == stage


def test_unexpected_names_are_listed(official):
    strangers = ["mask_token", "layers.0.0.op.x.weight", "layers.0.norm1.weight", "layers.9999.0.norm1.bias", "stem.x"]
    converted = convert_checkpoint({**official(), **dict.fromkeys(strangers, torch.zeros(2)), "epoch": 3})
    assert converted.unexpected == [*strangers, "epoch"] and converted.missing == []


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("layers.0.0.op.linear.weight", (5, 8), "must be even"),
        ("layers.0.0.op.linear.bias", (), "must be even"),
        ("layers.0.0.mlp.fc1.weight", (8,), "1x1 convolution"),
        ("layers.0.0.op.k_exp", (8, 8), r"must have shape \(H, W, C\)"),
    ],
)
def test_a_tensor_of_another_form(name, shape, message):
    with pytest.raises(ValueError, match=message) as caught:
        convert_checkpoint({name: torch.zeros(shape)})
    assert name in str(caught.value) and str(shape) in str(caught.value)


@pytest.mark.parametrize("wrong", [[torch.zeros(1)], {3: torch.zeros(1)}])
def test_not_a_state_dict(wrong):
    with pytest.raises(TypeError, match="state_dict must map names to tensors"):
        convert_checkpoint(wrong)


def test_what_has_no_official_name(make_net, official):
    net = make_net()
    net.reparameterize([64])
    with pytest.raises(ValueError, match=r"operator\.source.*has no official name|gains only"):
        to_official(net.state_dict())
    net.reparameterize([96], keep_source=False)
    with pytest.raises(ValueError, match="one gain for each block"):
        to_official(net.state_dict())
    with pytest.raises(ValueError, match="made of 2 tensors"):
        to_official({"stages.0.blocks.0.mixer.value.bias": torch.zeros(8)})
