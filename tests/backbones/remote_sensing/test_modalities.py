"""What a modality says of its images, what it refuses, and that it is in every checkpoint."""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from timm.models import save_for_hf

import backbones
from backbones.remote_sensing import OPTICAL, SAR, ModalitySpec, RSVHeat, specs_in

ARCH = {"dims": (8, 12, 16, 20), "depths": (1, 1, 1, 1), "init_std": None}
RADAR = ModalitySpec("radar", ("VV", "VH"), "dB", (-11.0, -17.5), 5, clip=(-30, 5))


def _spec(unit, bands=("a", "b"), **options):
    return ModalitySpec("m", bands, unit, **{"mean": 0.0, "std": 1.0, **options})


def _tile(low, high, bands=2):
    return torch.linspace(low, high, bands * 64 * 64).reshape(1, bands, 64, 64)


def test_normalisation():
    x = torch.tensor([[-40.0, -11.0, 9.0], [-17.5, -12.5, -60.0]]).reshape(1, 2, 1, 3)
    expected = torch.tensor([[-19 / 5, 0, 16 / 5], [0, 1, -12.5 / 5]]).reshape(1, 2, 1, 3)
    assert torch.allclose(RADAR.normalised(x), expected)
    assert RADAR.std == (5.0, 5.0)


@torch.no_grad()
def test_the_network_normalises(randomise):
    plain = [ModalitySpec("radar", ("VV", "VH"), None, 0.0, 1.0)]
    net = randomise(RSVHeat(ARCH, modalities=[RADAR], img_size=64)).eval()
    bare = randomise(RSVHeat(ARCH, modalities=plain, img_size=64)).eval()
    x = _tile(-35.0, 10.0)
    assert torch.allclose(net(x), bare(RADAR.normalised(x)), atol=1e-6)


def test_as_data():
    for spec in (RADAR, OPTICAL, SAR, _spec(None, mean=(0.1, 1 / 3))):
        assert ModalitySpec(**spec.to_dict()) == spec and ModalitySpec.of(spec.to_dict()) == spec
        assert ModalitySpec.from_tensor(spec.to_tensor(3)) == (spec, 3)
    for wrong in (torch.zeros(3), torch.zeros(2, 2, dtype=torch.uint8), torch.zeros(70000, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="must be bytes, uint8 of one dimension"):
            ModalitySpec.from_tensor(wrong)
    texts = [b"\xff", b"[]", b"3", b"{}", b'{"place": 0, "name": "x"}', b'{"place": "0"}', b"[" * 60000]
    extra = RADAR.to_tensor().numpy().tobytes()[:-1] + b', "more": 1}'
    for text in (*texts, extra):
        with pytest.raises(ValueError, match="not a description of a modality"):
            ModalitySpec.from_tensor(torch.tensor(list(text), dtype=torch.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "two words"}, "name must be an identifier"),
        ({"name": "items"}, "name must be an identifier that torch.nn.ModuleDict does not use, got 'items'"),
        ({"bands": ()}, "bands of 'radar' must be a list of different names"),
        ({"bands": "VV"}, "got 'VV'"),
        ({"bands": ("VV", "VV")}, "different names"),
        ({"unit": "watts"}, r"unit of 'radar' must be one of \('reflectance', 'counts', 'dB', 'power', 'uint8'\)"),
        ({"mean": (1.0,)}, "mean of 'radar' must be a number or 2, one for each of the bands VV, VH"),
        ({"mean": (1.0, math.nan)}, "mean of 'radar' must be a number"),
        ({"std": (1.0, 0.0)}, "std of band 'VH' of 'radar' must be positive, got 0.0"),
        ({"clip": (5, -30)}, r"clip of 'radar' must be \(lowest, highest\)"),
        ({"unit": "reflectance", "mean": 1200.0}, "outside of the range of reflectance, -0.2 to 2.5"),
    ],
)
def test_specs_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RADAR, **options)


@pytest.mark.parametrize(
    ("unit", "low", "high"),
    [
        ("reflectance", -0.05, 1.6), ("counts", 0, 12000), ("counts", 3, 3), ("dB", -28, 4), ("dB", 0, 0),
        ("power", 0, 3), ("uint8", 0, 255), ("uint8", -20, 280), (None, -1e9, 1e9), ("reflectance", 0, 0),
    ],
)  # fmt: skip
def test_values_that_fit(unit, low, high):
    _spec(unit).check(_tile(low, high))


@pytest.mark.parametrize(
    ("unit", "low", "high", "message"),
    [
        ("reflectance", 0, 12000, "range of reflectance, -0.2 to 2.5; are these counts or bytes"),
        ("counts", 0, 1, "fractions, and small ones for the range of counts, 0 to 65535"),
        ("counts", -30000, 100, "outside of the range of counts"),
        ("dB", 0.001, 1.5, "is this linear power"),
        ("dB", -3, 900, "outside of the range of dB, -100 to 60"),
        ("power", -25, -3, "outside of the range of power, 0 to 1e.06; are these dB"),
        ("uint8", -2.1, 2.6, "are they scaled or normalised already"),
        ("uint8", 0, 4000, "are these counts"),
        ("dB", -math.inf, 0, "all must be finite"),
        (None, 0, math.inf, "all must be finite"),
    ],
)
def test_values_of_another_unit(unit, low, high, message):
    spec, tile = _spec(unit), torch.full((1, 2, 64, 64), -1.0 if unit == "dB" else 0.0)
    tile[0, 1] = torch.linspace(max(low, -1e30), min(high, 1e30), 64)
    tile[0, 1, 0, 0], tile[0, 1, 0, 1] = low, high
    with pytest.raises(ValueError, match=rf"band 'b' of modality 'm' has values from .*{message}"):
        spec.check(tile)


def test_nan_is_refused():
    tile = _tile(-20, 0)
    tile[0, 0, 5, 5] = math.nan
    with pytest.raises(
        ValueError, match=r"band 'VV' of modality 'radar' has values from nan to nan: all must be finite"
    ):
        RADAR.check(tile)


# -- in checkpoints ---------------------------------------------------------------------------------------------------


def _net(*modalities, **options):
    return RSVHeat(ARCH, modalities=modalities or (OPTICAL, RADAR), img_size=64, **options)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_specs_travel(kind, tmp_path):
    first, path = ModalitySpec("zenith", ("a",), None, 0.5, 2.0), tmp_path / f"x.{kind}"
    net = _net(first, OPTICAL, RADAR)
    if kind == "pth":
        torch.save({"state_dict": {f"module.backbone.{n}": t for n, t in net.state_dict().items()}}, path)
    else:
        safetensors.torch.save_file(net.state_dict(), path)  # in alphabetical order
    found = specs_in(backbones.read_weights(path)[0])
    assert found == (first, OPTICAL, RADAR)
    again = _net(*found)
    report = backbones.load_checkpoint(again, path)
    assert report.missing == report.unexpected == []
    for name, tensor in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    other = _net(RADAR, first)  # some of them, in another order
    backbones.load_checkpoint(other, path)
    assert specs_in(other.state_dict()) == (RADAR, first)
    other.load_state_dict(other.state_dict())


def test_other_specs_are_refused(tmp_path):
    torch.save(_net(OPTICAL, RADAR).state_dict(), tmp_path / "x.pth")
    swapped = dataclasses.replace(RADAR, bands=("VH", "VV"))
    words = r"modality 'radar' has in the file and in the model bands \('VV', 'VH'\) and \('VH', 'VV'\)"
    net = _net(OPTICAL, swapped)
    before = {name: t.clone() for name, t in net.state_dict().items()}
    with pytest.raises(ValueError, match=rf"cannot load .*x\.pth: {words}: create the model with"):
        backbones.load_checkpoint(net, tmp_path / "x.pth")
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    with pytest.raises(RuntimeError, match=words):
        net.load_state_dict(torch.load(tmp_path / "x.pth", weights_only=True))
    for other in (dataclasses.replace(RADAR, unit=None), dataclasses.replace(RADAR, mean=-12.0)):
        with pytest.raises(ValueError, match=r"'radar' has in the file and in the model (unit 'dB' and None|mean)"):
            backbones.load_checkpoint(_net(OPTICAL, other), tmp_path / "x.pth")
    report = backbones.load_checkpoint(net, tmp_path / "x.pth", leave_out=["stem.radar.description"])
    assert report.reasons["stem.radar.description"] == "left out as asked" and net.modalities[1] == swapped


def test_copies_and_types_keep_them():
    net = _net().to(torch.bfloat16)
    assert specs_in(net.state_dict()) == (OPTICAL, RADAR)
    buffer = io.BytesIO()
    torch.save(net.state_dict(), buffer)
    buffer.seek(0)
    assert specs_in(torch.load(buffer, weights_only=True)) == (OPTICAL, RADAR)
    assert specs_in({}) == ()
    two = {f"{p}.{n}": t for p in "ab" for n, t in net.state_dict().items()}
    with pytest.raises(ValueError, match="of several networks"):
        specs_in(two)


@torch.no_grad()
def test_through_timm(tmp_path):
    options = {"arch": ARCH, "modalities": [OPTICAL, RADAR], "img_size": 64, "num_classes": 3}
    net = timm.create_model("rs_vheat_nano", **options).eval()
    assert net.pretrained_cfg["input_size"] == (5, 224, 224) and net.in_chans == 5
    # timm's transforms make 0 to 1 of bytes, and these give them back.
    assert net.pretrained_cfg["mean"] == (0.0,) * 5 and net.pretrained_cfg["std"] == (1 / 255,) * 3 + (1.0,) * 2
    torch.save(net.state_dict(), tmp_path / "x.pth")
    overlay = {"file": str(tmp_path / "x.pth")}
    again = timm.create_model("rs_vheat_nano", pretrained=True, pretrained_cfg_overlay=overlay, **options).eval()
    x = torch.cat([_tile(0, 255, 3), _tile(-25, 0)], 1)
    assert torch.equal(again(x), net(x))
    features = timm.create_model("rs_vheat_nano", features_only=True, out_indices=(1, 3), fusion="concat", arch=ARCH)
    assert [f.shape[1] for f in features(x[:, [0, 1, 2, 4]])] == features.feature_info.channels() == [24, 40]
    with pytest.raises(
        TypeError, match="rs_vheat_nano has no in_chans: its channels are the bands of modalities=, which are 4; got 3"
    ):
        timm.create_model("rs_vheat_nano", in_chans=3)
    with pytest.raises(RuntimeError, match="No pretrained weights exist for rs_vheat_base"):
        timm.create_model("rs_vheat_base", pretrained=True)
    assert set(backbones.RS_VHEAT_MODELS) == {f"rs_vheat_{arch}" for arch in ("nano", "tiny", "small", "base")}


@torch.no_grad()
def test_folders_that_timm_writes(tmp_path):
    """They tell the number of channels, too."""
    modalities = [{"name": "sar", "bands": ["VV", "VH"], "unit": "dB", "mean": -13.0, "std": 4.0}]
    net = timm.create_model("rs_vheat_nano", modalities=modalities, img_size=64, num_classes=3).eval()
    save_for_hf(net, tmp_path)
    again, x = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval(), torch.full((1, 2, 64, 64), -15.0)
    assert torch.equal(again(x), net(x)) and again.modalities == net.modalities


def test_statistics_of_numpy_are_numbers():
    expected = ModalitySpec("sar", ("VV", "VH"), "dB", mean=(-11.0, -17.0), std=5.0, clip=(-30.0, 5.0))
    clip = np.array([-30, 5])
    found = ModalitySpec(
        "sar", ("VV", "VH"), "dB", mean=np.array([-11.0, -17.0], np.float32), std=np.float32(5), clip=clip
    )
    assert found == expected and torch.equal(found.to_tensor(0), expected.to_tensor(0))


def test_averages_over_buffers_do_not_touch_descriptions():
    net = RSVHeat(ARCH, modalities=[OPTICAL, RADAR], img_size=64)
    average = torch.optim.swa_utils.AveragedModel(
        net, avg_fn=torch.optim.swa_utils.get_ema_avg_fn(0.9), use_buffers=True
    )
    for _ in range(20):
        average.update_parameters(net)
    state = average.module.state_dict()
    assert [spec.name for spec in specs_in(state)] == ["optical", "radar"]
    RSVHeat(ARCH, modalities=[OPTICAL, RADAR], img_size=64).load_state_dict(state)
