"""Files of other networks: every way in refuses them by what they hold, however alike their names are."""

from __future__ import annotations

import convert_checkpoint as tool
import pytest
import timm
import torch
from timm.models import save_for_hf

import backbones
from backbones.weights.conversion import own_names

#: Of timm, most with names that this project or official vHeat files have too.
OTHERS = {
    "convnext_atto": ("stem.0.weight", "stages.0.blocks.0.mlp.fc1.weight"),
    "mvitv2_tiny": ("stages.0.blocks.0.norm1.weight", "stages.0.blocks.0.mlp.fc1.weight"),
    "poolformerv2_s12": ("stages.0.blocks.0.norm1.weight", "stages.0.blocks.0.mlp.fc1.weight"),
    "pvt_v2_b0": ("stages.0.blocks.0.norm1.weight", "stages.1.downsample.norm.weight"),
    "swin_tiny_patch4_window7_224": ("layers.0.blocks.0.norm1.weight", "head.fc.weight"),
    "resnet18": ("conv1.weight", "fc.weight"),
    "vit_tiny_patch16_224": ("blocks.0.norm1.weight", "norm.weight"),
    "mobilenetv3_small_050": ("conv_stem.weight", "classifier.weight"),
}


@pytest.fixture(scope="module", params=OTHERS)
def other(request, tmp_path_factory):
    """The path of a file of another network."""
    state = {name: torch.zeros(()).expand(t.shape) for name, t in timm.create_model(request.param).state_dict().items()}
    assert set(OTHERS[request.param]) <= set(state)
    path = tmp_path_factory.mktemp("others") / f"{request.param}.pth"
    torch.save({"state_dict": state}, path)
    return path


def refused(call, *words):
    with pytest.raises(ValueError) as caught:
        call()
    state = caught.value.args[0]
    for word in ("it holds the tensors of no network of this project (", ", ...)", *words):
        assert word in state
    return state


def test_load_checkpoint(other, make_net):
    net = make_net()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    refused(lambda: backbones.load_checkpoint(net, other), str(other))
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    refused(lambda: backbones.read_weights(other), str(other))


def test_pretrained(other, tmp_path):
    for overlay, words in (({"file": str(other)}, (str(other),)), ({"state_dict": torch.load(other)}, ())):
        refused(lambda o=overlay: timm.create_model("vheat_nano", pretrained=True, pretrained_cfg_overlay=o), *words)
    save_for_hf(timm.create_model("vheat_nano"), tmp_path)
    (tmp_path / "model.safetensors").unlink(missing_ok=True)
    (tmp_path / "pytorch_model.bin").write_bytes(other.read_bytes())
    refused(lambda: timm.create_model(f"local-dir:{tmp_path}", pretrained=True))


def test_convert_checkpoint(other, tmp_path):
    refused(lambda: tool.convert(other, tmp_path / "x.safetensors"), str(other))
    assert not list(tmp_path.iterdir())


def test_a_detector_with_another_backbone(other):
    state = torch.load(other)["state_dict"]
    refused(lambda: own_names({**{f"backbone.{n}": t for n, t in state.items()}, "neck.bias": torch.zeros(1)}))


@pytest.mark.parametrize("name", ["vwave", "vtail", "vpoisson"])
def test_relatives_are_converted_but_have_no_official_names(name, tmp_path, capsys):
    torch.save(timm.create_model(f"{name}_nano", num_classes=3).state_dict(), tmp_path / "x.pth")
    tool.convert(tmp_path / "x.pth", tmp_path / "x.safetensors")
    assert "the same features" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"mixer.operator.* has no official name"):
        tool.convert(tmp_path / "x.pth", tmp_path / "y.safetensors", to="official")
