"""Tables of names: a second one, made here, is read, loaded and written like vHeat's."""

from __future__ import annotations

import pytest
import timm
import torch

import backbones
from backbones.weights import conversion
from backbones.weights.conversion import own_names
from backbones.weights.loading import read_weights
from backbones.weights.names import Layout, NameTable, Rule, affine
from backbones.weights.vheat_names import VHEAT

#: A family that calls its blocks ``trunk.{stage}.{block}`` and transposes its projections.
TOY = NameTable(
    [
        *affine(
            "trunk.{i}.{j}.out", "stages.{i}.blocks.{j}.mixer.proj", weight=Layout(lambda t: (t.T,), lambda t: t.T)
        ),
        *affine("trunk.{i}.{j}.first", "stages.{i}.blocks.{j}.norm1"),
        *affine("last", "norm"),
    ],
    {"trunc.": "trunk."},
    marks=["trunk.{i}.{j}.out.weight"],
)


def covered(name):
    """Whether the toy's table has a tensor of ours."""
    return name.startswith("norm.") or ".proj." in name or (".norm1." in name and not name.startswith("stem"))


def test_a_table_is_read_both_ways(net):
    state = net.state_dict()
    official = TOY.to_official({n: t for n, t in state.items() if covered(n)})
    assert torch.equal(official["trunk.2.1.out.weight"], state["stages.2.blocks.1.mixer.proj.weight"].T)
    assert len(official) == 6 * 4 + 2
    old = {name.replace("trunk", "trunc"): t for name, t in official.items()}
    for names in (official, old):
        assert TOY.recognises(names) and not TOY.recognises_ours(names) and not VHEAT.recognises(names)
        converted = TOY.to_ours({**names, "other": torch.zeros(1)})
        assert converted.unexpected == ["other"] and converted.missing == []
        assert all(torch.equal(t, state[name]) for name, t in converted.state_dict.items())
        assert TOY.recognises_ours(converted.state_dict)
    del official["trunk.1.1.first.bias"]
    assert TOY.to_ours(official).missing == ["trunk.1.1.first.bias"]
    assert not TOY.recognises({"last.weight", "trunk.0.0.first.weight"})


def test_a_table_needs_a_place_among_the_tables_and_nothing_else(net, make_net, randomise, monkeypatch, tmp_path):
    rest = [name for name in net.state_dict() if not covered(name)]
    whole = NameTable(
        [*TOY.rules, *(Rule(f"{name}_own", (name,)) for name in rest)], TOY.aliases, marks=["trunk.{i}.{j}.out.weight"]
    )
    official = whole.to_official(net.state_dict())
    torch.save({"model": {f"module.{n}": t for n, t in official.items()}}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="no network of this project"):
        read_weights(tmp_path / "x.pth")
    monkeypatch.setattr(conversion, "TABLES", [VHEAT, whole])
    loaded = randomise(make_net(), seed=3)
    assert backbones.load_checkpoint(loaded, tmp_path / "x.pth")[:3] == ([], [], {})
    overlay = {"file": str(tmp_path / "x.pth")}
    options = {"dims": (8, 12, 16, 20), "depths": (1, 2, 2, 1), "img_size": 64, "num_classes": 7}
    by_timm = timm.create_model("vheat_tiny", pretrained=True, pretrained_cfg_overlay=overlay, **options)
    like = backbones.network_like(read_weights(tmp_path / "x.pth")[0])
    like.load_state_dict(read_weights(tmp_path / "x.pth")[0])
    for found in (loaded, by_timm, like):
        assert all(torch.equal(t, found.state_dict()[n]) for n, t in net.state_dict().items())


def test_of_two_tables_the_one_that_knows_more_names(monkeypatch, official):
    cousin = NameTable([*VHEAT.rules, Rule("guide", ("guide",))], marks=["layers.{i}.{j}.op.linear.weight"])
    monkeypatch.setattr(conversion, "TABLES", [VHEAT, cousin])
    named = own_names({**official(), "guide": torch.zeros(1)})
    assert named.table is cousin and "guide" in named.tensors and named.unexpected == []
    assert own_names(official()).table is VHEAT


def test_a_table_may_ask_more_of_the_model(monkeypatch, official, make_net, tmp_path):
    torch.save(official(), tmp_path / "x.pth")
    monkeypatch.setattr(VHEAT, "misfit", lambda model, state: f"{len(model.stages)} stages are too many")
    with pytest.raises(ValueError, match=r"4 stages are too many\. Both are a vheat of widths"):
        backbones.load_checkpoint(make_net(), tmp_path / "x.pth")


def test_names_that_ask_for_many_stages(official):
    state = {**official(), "layers.100.0.norm1.bias": torch.zeros(1), "freq_embed.7": torch.zeros(2, 2, 8)}
    converted = backbones.convert_checkpoint(state)
    assert converted.unexpected == ["layers.100.0.norm1.bias"] and converted.missing == []
