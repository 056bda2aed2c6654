"""Converting checkpoints on the command line: names, both directions, refusal."""

import subprocess
import sys

import convert_checkpoint as tool
import official_hivit
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from backbones import load_checkpoint, network_like, to_official
from backbones.pretraining import ITPNPretraining, publish
from backbones.remote_sensing import SAR, RSVHeat
from backbones.weights.reading import read_metadata


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = timm.create_model("vheat_small", dims=(8, 12, 16, 20), depths=(1, 2, 1, 1), img_size=(64, 96), num_classes=7)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


@pytest.mark.parametrize("form", ["classifier", "precomputed", "dense", "training file"])
def test_there_and_back(form, net, tmp_path, capsys):
    if form == "precomputed":
        net.reparameterize([(64, 96)], keep_source=False)
    official = to_official(net.state_dict())
    if form == "dense":
        official = {n: t for n, t in official.items() if not n.startswith("classifier.")}
        official |= {
            f"outnorm{i}.{n}": torch.rand(c) for i, c in enumerate((8, 12, 16, 20)) for n in ("weight", "bias")
        }
    file = {"model": {f"module.{n}": t for n, t in official.items()}, "model_ema": official, "epoch": 3}
    torch.save(file if form == "training file" else {"model": official}, tmp_path / "in.pth")
    own, back = tmp_path / "own.safetensors", tmp_path / "official.safetensors"
    tool.convert(tmp_path / "in.pth", own, weights="ema" if form == "training file" else "raw")
    assert "the same features" in capsys.readouterr().out
    tool.convert(own, back, to="official", listing=True)
    assert "patch_embed.conv1.weight  (4, 3, 3, 3)" in capsys.readouterr().out
    assert load_file(back).keys() == official.keys()
    assert all(torch.equal(t, official[n]) for n, t in load_file(back).items())
    if form == "classifier":
        assert all(torch.equal(t, net.state_dict()[n]) for n, t in load_file(own).items())


def test_rs_vheat_there_and_back(tmp_path, capsys):
    torch.manual_seed(0)
    optical = {"name": "optical", "bands": ["B4", "B3"], "unit": "counts", "mean": 900.0, "std": 400.0}
    made = {"modalities": [SAR, optical], "img_size": (64, 96), "num_classes": 5}
    net = RSVHeat({"dims": (8, 12, 16, 20), "depths": (1, 2, 1, 1)}, **made).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    torch.save(net.state_dict(), tmp_path / "own.pth")
    back = tmp_path / "official.safetensors"
    tool.convert(tmp_path / "own.pth", back, to="official")
    assert "stem.sar.description, stem.optical.description: left out" in capsys.readouterr().out
    official = load_file(back)
    assert {"patch_embed_opt.conv1.weight", "heat_capacity.3", "layers.1.1.op.norm1.bias"} <= set(official)
    other = RSVHeat({"dims": (8, 12, 16, 20), "depths": (1, 2, 1, 1)}, **made).eval()
    load_checkpoint(other, back)
    images = {"optical": 900 + torch.rand(2, 2, 64, 64), "sar": torch.randn(2, 1, 64, 64) - 12}
    assert torch.equal(other(images), net(images))


def test_an_official_rs_vheat_that_lost_something_is_not_written(tmp_path, monkeypatch):
    torch.save(RSVHeat("nano", img_size=64).state_dict(), tmp_path / "own.pth")
    lossy = {"heat_capacity.0": torch.zeros(16, 16, 32)}
    monkeypatch.setattr(tool, "to_official", lambda state: to_official(state) | lossy)
    with pytest.raises(ValueError, match="other features"):
        tool.convert(tmp_path / "own.pth", tmp_path / "out.safetensors", to="official")
    assert not (tmp_path / "out.safetensors").exists()


def test_the_network_of_a_file(net):
    found = network_like(net.state_dict())
    found.load_state_dict(net.state_dict())
    x = torch.randn(1, 3, 64, 96)
    assert torch.equal(found.eval()(x), net(x))
    with pytest.raises(ValueError, match="not those of a whole vHeat"):
        network_like({n: t for n, t in net.state_dict().items() if not n.startswith("stem.")})


def test_command_line(net, tmp_path, root):
    torch.save(net.state_dict(), tmp_path / "in.pth")
    out = tmp_path / "new/folder/out.safetensors"
    command = [sys.executable, root / "tools/convert_checkpoint.py", tmp_path / "in.pth", out]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2))
    assert first.returncode == 0 and "bit for bit" in first.stdout, first.stderr
    assert second.returncode == 1 and "exists; give another name" in second.stderr
    command[2] = tmp_path / "nothing.pth"
    result = subprocess.run([*command[:3], tmp_path / "x"], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "error: argument IN: no such file" in result.stderr
    assert not (tmp_path / "x").exists()


def test_one_of_several_networks(net, tmp_path, capsys):
    """A teacher beside its student, for example."""
    other = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    both = {f"{which}.{n}": t for which, state in (("a", net.state_dict()), ("b", other)) for n, t in state.items()}
    torch.save(both, tmp_path / "both.pth")
    with pytest.raises(ValueError, match=r"several networks.*give prefix="):
        tool.convert(tmp_path / "both.pth", tmp_path / "x.safetensors")
    tool.convert(tmp_path / "both.pth", tmp_path / "x.safetensors", prefix="b.")
    assert all(torch.equal(t, other[name]) for name, t in load_file(tmp_path / "x.safetensors").items())
    tool.say(tmp_path / "both.pth", prefix="a.")
    assert "a vheat of widths (8, 12, 16, 20)" in capsys.readouterr().out


@pytest.mark.parametrize("form", [{"classes": 5}, {"pyramid": (8, 2), "decoder": (64, 1)}], ids=["class", "pixel"])
def test_hivit_there_and_back(form, tmp_path, capsys):
    state = official_hivit.official(dtype=torch.float32, relative=True, **form)
    torch.save({"model": state}, tmp_path / "x.pth")
    tool.convert(tmp_path / "x.pth", tmp_path / "own.safetensors")
    text = capsys.readouterr().out
    assert "widths [8, 16, 32], depths [1, 2, 2]" in text and "the same features" in text
    assert "relative_position_index: left out, it follows from the grid and is computed" in text
    assert ("decoder.norm.bias: converted, but not compared, of a part" in text) == ("decoder" in form)
    tool.convert(tmp_path / "own.safetensors", tmp_path / "official.safetensors", to="official")
    found = load_file(tmp_path / "official.safetensors")
    assert set(found) == set(state) and all(torch.equal(t, state[name]) for name, t in found.items())


def test_a_published_pre_training_keeps_what_its_file_says(tmp_path):
    """Heads of 16 channels, which no tensor tells."""
    arch = {"embed_dim": 32, "depths": (1, 1, 2), "num_heads": 2}
    sizes = {"img_size": 64, "pyramid_dim": 8, "decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2}
    told = publish(ITPNPretraining(arch, **sizes), tmp_path / "x.safetensors", source="noise")
    for source, target, to in (("x", "official", "official"), ("official", "own", "own")):
        tool.convert(tmp_path / f"{source}.safetensors", tmp_path / f"{target}.safetensors", to=to)
        assert read_metadata(tmp_path / f"{target}.safetensors") == told
