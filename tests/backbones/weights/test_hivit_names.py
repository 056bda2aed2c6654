"""Official HiViT files against an independent restatement: names, counts, numbers, and the way back."""

from __future__ import annotations

import math

import official_hivit
import pytest
import torch

import backbones
from backbones import ITPN, HiViT, convert_checkpoint, network_like, to_official

HEADS = {"embed_dim": 32, "depths": (1, 2, 2), "num_heads": 2, "img_size": 64}
BASE = {"e": 512, "depths": (3, 3, 24), "heads": 8, "side": 14}
FORMS = {
    "classifier": {"classes": 5},
    "with biases": {"classes": 5, "relative": True},
    "fast": {"classes": 5, "fast": True},
    "detection": {"pyramid": (8, 1)},
    "deep pyramid": {"pyramid": (12, 2), "relative": True},
    "pre-training": {"pyramid": (8, 2), "decoder": (64, 2)},
}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def same(found, expected):
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    ("form", "tensors", "parameters"),
    [
        ({"classes": 1000, "relative": True}, 364, 78_557_992),
        ({"pyramid": (256, 1)}, 375, 81_552_000),
        ({"pyramid": (256, 2), "decoder": (512, 8)}, 501, 108_493_344),
    ],
)
def test_published_counts_and_every_name_has_a_place(form, tensors, parameters):
    shapes = official_hivit.shapes(**BASE, **form)
    assert len(shapes) == tensors
    numbers = {name: math.prod(shape) for name, shape in shapes.items() if name != "relative_position_index"}
    assert sum(numbers.values()) == parameters
    state = {name: torch.zeros((), dtype=torch.uint8).expand(shape) for name, shape in shapes.items()}
    converted = convert_checkpoint(state)
    assert converted.missing == [] and set(converted.reasons) == set(converted.unexpected) == set(state) - set(numbers)


@forms
def test_there_and_back(form):
    state = official_hivit.official(**form)
    converted = convert_checkpoint({f"module.backbone.{name}": tensor for name, tensor in state.items()})
    assert converted.missing == [] and set(converted.unexpected) <= {"relative_position_index"}
    same(to_official(converted.state_dict), state)
    for name in ("patch_embed.proj.bias", "blocks.5.mlp.ffn_ln.bias" if "fast" in form else "blocks.5.attn.qkv.bias"):
        rest = {n: t for n, t in state.items() if n != name}
        assert convert_checkpoint(rest).missing == [name]


@forms
@pytest.mark.parametrize("size", [(64, 64), (50, 75)])
@torch.no_grad()
def test_the_numbers_are_the_restatement_s(form, size):
    state = official_hivit.official(**form)
    ours = {n: t for n, t in convert_checkpoint(state).state_dict.items() if not n.startswith("decoder.")}
    options = {"relative_bias": "relative" in form, "form": "fast" if "fast" in form else "hivit"}
    if "pyramid" in form:
        net = ITPN(**HEADS, **options, pyramid_dim=form["pyramid"][0], pyramid_depth=form["pyramid"][1])
    else:
        net = HiViT(**HEADS, **options, num_classes=5)
    net = net.double().eval()
    net.load_state_dict(ours)
    images = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    raw = net.forward_levels(images)[1] if "pyramid" in form else net.forward_stages(images)
    for i, image in enumerate(images):
        first, second, last, grid = official_hivit.stage_units(state, image)
        for found, units in zip(raw, (first, second, last), strict=True):
            expected = official_hivit.as_map(units, grid, size)
            torch.testing.assert_close(found[i].permute(2, 0, 1), expected, rtol=1e-9, atol=1e-9)
        if "pyramid" in form:
            levels = official_hivit.pyramid_units(state, first, second, last)
            for found, units in zip(net.forward_levels(images)[0], levels, strict=True):
                expected = official_hivit.as_map(units, grid, size)
                torch.testing.assert_close(found[i].permute(2, 0, 1), expected, rtol=1e-9, atol=1e-9)
        else:
            expected = official_hivit.logits(state, last)
            torch.testing.assert_close(net(images)[i], expected, rtol=1e-9, atol=1e-9)


def test_pieces_on_a_part_of_the_units_are_the_whole_network_s():
    """Also the attention, when all that is left out is the other way round: a network of these places alone."""
    state = official_hivit.official(relative=True)
    net = HiViT(**HEADS, relative_bias=True, num_classes=0).double().eval()
    net.load_state_dict(convert_checkpoint(state).state_dict, strict=False)
    images = torch.randn(2, 3, 48, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    keep = torch.stack([torch.randperm(12, generator=torch.Generator().manual_seed(i)) for i in range(2)])
    units = net.embed(images)
    shuffled = torch.stack([u[k] for u, k in zip(units, keep, strict=True)])
    found = net.global_stage(net.local_stages(shuffled)[2], (3, 4), keep)
    whole = net.global_stage(net.local_stages(units)[2], (3, 4))
    for f, w, k in zip(found, whole, keep, strict=True):
        torch.testing.assert_close(f, w[k], rtol=1e-10, atol=1e-10)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": {f"module.{n}": t for n, t in s.items()}}])
def test_a_pretraining_file_in_a_classifier(wrap, tmp_path):
    state = official_hivit.official(dtype=torch.float32, **FORMS["pre-training"])
    torch.save(wrap(state), tmp_path / "x.pth")
    net = HiViT(**HEADS, relative_bias=True, num_classes=5)
    report = backbones.load_checkpoint(net, tmp_path / "x.pth")
    assert {n.partition(".")[0] for n in report.unexpected} == {"pyramid", "decoder"}
    assert all(report.reasons[n] == "of a part that the model does not have" for n in report.unexpected)
    tables = [n for n in report.missing if n.endswith("bias.table")]
    assert len(tables) == 2 and "starts at zero" in report.reasons[tables[0]]
    assert set(report.missing) - set(tables) == {f"head.{p}.{w}" for p in ("norm", "fc") for w in ("weight", "bias")}
    loaded = to_official({n: t for n, t in net.state_dict().items() if n not in report.missing})
    same(loaded, {n: t for n, t in state.items() if n in loaded})


def test_other_sizes_are_resized_at_loading_as_when_running(tmp_path):
    state = official_hivit.official(dtype=torch.float32, **FORMS["with biases"])
    torch.save(state, tmp_path / "x.pth")
    large, small = (HiViT(**{**HEADS, "img_size": s}, relative_bias=True, num_classes=5).eval() for s in (96, 64))
    report = backbones.load_checkpoint(large, tmp_path / "x.pth")
    assert report.resized["stages.2.positions.weight"] == ((4, 4), (6, 6))
    assert report.resized["stages.2.blocks.1.bias.table"] == ((7, 7), (11, 11))
    backbones.load_checkpoint(small, tmp_path / "x.pth")
    images = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(large(images), small(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"positions.weight: \(4, 4, 32\) in the file, \(6, 6, 32\) in the model"):
        backbones.load_checkpoint(large, tmp_path / "x.pth", resize=None)
    with pytest.raises(ValueError, match="resize='pad' is for spectral embeddings"):
        backbones.load_checkpoint(large, tmp_path / "x.pth", resize="pad")


def test_nothing_is_dropped_in_silence(tmp_path):
    torch.save(official_hivit.official(dtype=torch.float32, **FORMS["deep pyramid"]), tmp_path / "x.pth")

    def load(relative_bias=True, pyramid_depth=2, **options):
        net = ITPN(**HEADS, relative_bias=relative_bias, pyramid_dim=12, pyramid_depth=pyramid_depth)
        return net, backbones.load_checkpoint(net, tmp_path / "x.pth", **options)

    assert load()[1].missing == []
    with pytest.raises(ValueError, match=r"pyramid\.blocks\.0\.1\.norm\.weight: \(12,\) in the file, missing.*depth 2"):
        load(pyramid_depth=1)
    with pytest.raises(ValueError, match=r"pyramid\.blocks\.0\.2\.norm\.weight: missing in the file.*pyramid_depth"):
        load(pyramid_depth=3)
    with pytest.raises(ValueError, match=r"bias\.table.*relative_bias=True, or drop them by leave_out"):
        load(relative_bias=False)
    report = load(relative_bias=False, leave_out=["*.bias.table"])[1]
    assert len(report.reasons) == 3 and set(report.reasons.values()) == {
        "left out as asked",
        "it follows from the grid and is computed",
    }
    with pytest.raises(ValueError, match=r"leave_out: neither the file nor the model has .* fits 'pyramd\.\*'"):
        load(leave_out=["pyramd.*"])
    _, report = load(pyramid_depth=3, leave_out=["pyramid.*"])
    assert "pyramid.top.weight" in report.missing and "pyramid.top.weight" in report.unexpected


def test_a_classifier_s_file_leaves_a_pyramid_only_where_asked(tmp_path):
    torch.save(official_hivit.official(dtype=torch.float32, classes=5), tmp_path / "x.pth")
    net = ITPN(**HEADS, pyramid_dim=8)
    with pytest.raises(ValueError, match=r"pyramid\.top\.weight: missing in the file.*leave_out=\['pyramid\.\*'\]"):
        backbones.load_checkpoint(net, tmp_path / "x.pth")
    before = net.pyramid.top.weight.clone()
    assert "pyramid.top.weight" in backbones.load_checkpoint(net, tmp_path / "x.pth", leave_out=["pyramid.*"]).missing
    assert torch.equal(net.pyramid.top.weight, before)


# -- bad input --------------------------------------------------------------------------------------------------------


def test_files_that_are_no_hivit():
    state = official_hivit.official(classes=5)
    cut = {n: t for n, t in state.items() if not n.startswith("blocks.4.")}
    with pytest.raises(ValueError, match=r"merges at \[1\] of 7 entries of 'blocks'"):
        convert_checkpoint(cut)
    with pytest.raises(ValueError, match=r"absolute_pos_embed has shape \(1, 15, 32\): it must be \(1, side \* side"):
        convert_checkpoint({**state, "absolute_pos_embed": torch.zeros(1, 15, 32)})
    odd = convert_checkpoint({**state, "lm_head.weight": torch.zeros(2), "attn_mask": torch.zeros(2)})
    assert odd.reasons == {
        "lm_head.weight": "a part of another pre-training than that in pixels",
        "attn_mask": "no network of this project has such a tensor",
    }


@pytest.mark.parametrize("form", ["with biases", "deep pyramid"])
def test_network_like(form):
    state = official_hivit.official(dtype=torch.float32, **FORMS[form])
    ours = convert_checkpoint(state).state_dict
    net = network_like(ours)
    net.load_state_dict(ours)
    assert isinstance(net, ITPN) == (form == "deep pyramid") and net.img_size == (64, 64)
    assert net.stages[2].blocks[0].attn.heads == 2


def test_heads_that_nothing_tells():
    ours = convert_checkpoint(official_hivit.official()).state_dict
    with pytest.raises(ValueError, match="do not tell the number of heads, and no published network is 32 wide: give"):
        network_like(ours)
    assert network_like(ours, num_heads=4).stages[2].blocks[0].attn.heads == 4
    wide = convert_checkpoint(official_hivit.official(e=384)).state_dict
    assert network_like(wide).stages[2].blocks[0].attn.heads == 6
