"""The published encoder: its sizes, its names, and its numbers against an independent restatement."""

from __future__ import annotations

import pytest
import torch
from official_rs_vheat import classify, encode, official_shapes, official_state

import backbones
from backbones.remote_sensing import OPTICAL, RSVHeat

SIZES = {"stored": (64, 64), "resized": (96, 70)}


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _images(bands: int, size: tuple[int, int], seed: int = 1) -> torch.Tensor:
    return torch.randn(2, bands, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


def test_published_parameters():
    with torch.device("meta"):
        one = RSVHeat("base", modalities=[OPTICAL], num_classes=1000)
        both = RSVHeat("base", num_classes=1000)
    assert _count(one) == 92_909_032
    assert _count(one) - _count(one.norm) - _count(one.head) == 91_881_984
    assert sum(_count(stage.guide) for stage in one.stages) == 752_640
    # The published number has one stem; the other is two convolutions and two norms.
    assert _count(both) - _count(one) == 640 + 128 + 73_856 + 256


@pytest.mark.parametrize("arch", ["base", "tiny"])
def test_official_names_and_shapes(arch):
    spec = backbones.ARCHS[arch]
    with torch.device("meta"):
        net = RSVHeat(arch, num_classes=1000)
    shapes = official_shapes(spec["dims"], spec["depths"], image=224, post=arch == "base", classes=1000)
    assert {name: tuple(t.shape) for name, t in backbones.to_official(net.state_dict()).items()} == shapes


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("post", [True, False], ids=["post-norm", "pre-norm"])
def test_equals_a_second_implementation(post, size, make, tmp_path):
    state = official_state(post=post, classes=7)
    torch.save({"model": state}, tmp_path / "official.pth")
    net = make(post=post, num_classes=7)
    report = backbones.load_checkpoint(net, tmp_path / "official.pth")
    assert report.missing == ["stem.optical.description", "stem.sar.description"] and report.unexpected == []
    pair = {"optical": _images(3, size), "sar": _images(1, size, 2)}
    theirs = {name: encode(state, pair[name], stem) for name, stem in (("optical", "opt"), ("sar", "sar"))}
    with torch.no_grad():
        for name, images in pair.items():
            ours = net.forward_intermediates({name: images}, output_fmt="NHWC", intermediates_only=True)
            for mine, other in zip(ours, theirs[name], strict=True):
                assert _error(mine, other) < 1e-10
            assert _error(net({name: images}), classify(state, theirs[name][-1])) < 1e-10
        fused = net.forward_stages(pair)
    for mine, a, b in zip(fused, theirs["optical"], theirs["sar"], strict=True):
        assert _error(mine, (a + b) / 2) < 1e-10


def test_precomputed_equals_a_second_implementation(make, tmp_path):
    """The maps that guide the mixers stay where the physics is dropped."""
    state = official_state()
    torch.save(state, tmp_path / "official.pth")
    net = make()
    backbones.load_checkpoint(net, tmp_path / "official.pth")
    net.reparameterize([64], keep_source=False)
    images = _images(1, (64, 64))
    with torch.no_grad():
        ours = net.forward_stages({"sar": images})
    for mine, other in zip(ours, encode(state, images, "sar"), strict=True):
        assert _error(mine, other) < 1e-7  # gains are stored in float32
    precomputed = backbones.to_official(net.state_dict())
    assert "heat_capacity.3" in precomputed and "layers.2.1.op.k_exp" in precomputed
    assert not any("to_k" in name or "freq_embed" in name for name in precomputed)
    torch.save(precomputed, tmp_path / "precomputed.pth")
    again = make()
    backbones.load_checkpoint(again, tmp_path / "precomputed.pth")
    with torch.no_grad():
        for mine, other in zip(again.forward_stages({"sar": images}), ours, strict=True):
            assert torch.equal(mine, other)


def test_both_ways(make):
    state = official_state(classes=3)
    converted = backbones.convert_checkpoint(state)
    assert converted.missing == [] and converted.unexpected == []
    own = make(num_classes=3).state_dict()
    assert set(own) - set(converted.state_dict) == {"stem.optical.description", "stem.sar.description"}
    back = backbones.to_official(converted.state_dict)
    assert set(back) == set(state) and all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
def test_prefix_and_what_is_dropped(inside, make, tmp_path):
    state = {f"encoder.{name}": t for name, t in official_state(classes=3).items()}
    fusing = f"{'encoder.' if inside else ''}fuse_frequency.0.weight"
    torch.save({"model": {**state, fusing: torch.zeros(8, 16, 1, 1)}}, tmp_path / "x.pth")
    net = make(num_classes=3)
    report = backbones.load_checkpoint(net, tmp_path / "x.pth")
    assert report.unexpected == ["fuse_frequency.0.weight"]
    assert report.reasons["fuse_frequency.0.weight"].startswith("it fuses the frequency bands")
    ours = backbones.to_official(net.state_dict())
    assert all(torch.equal(ours[name], state[f"encoder.{name}"]) for name in ours)
    converted = backbones.convert_checkpoint({**state, fusing: torch.zeros(8, 16, 1, 1)})
    assert converted.unexpected == ["fuse_frequency.0.weight"] and converted.missing == []


def test_maps_of_another_size_are_resized_bilinearly(make, tmp_path):
    state = official_state(image=128)
    torch.save(state, tmp_path / "x.pth")
    net = make()
    report = backbones.load_checkpoint(net, tmp_path / "x.pth")
    assert report.resized["stages.1.guide.weight"] == report.resized["stages.1.embedding.weight"] == ((16, 16), (8, 8))
    for ours, theirs in (("guide", "heat_capacity"), ("embedding", "freq_embed")):
        halved = state[f"{theirs}.1"].reshape(8, 2, 8, 2, 12).mean((1, 3))  # what bilinear at half the size is
        assert torch.allclose(getattr(net.stages[1], ours).weight, halved, atol=1e-12)
    for resize, message in ((None, "Embeddings of other sizes"), ("pad", "resize='pad' is for spectral embeddings")):
        with pytest.raises(ValueError, match=message):
            backbones.load_checkpoint(make(), tmp_path / "x.pth", resize=resize)


def test_one_modality_of_a_file_of_two(make, tmp_path):
    torch.save(official_state(), tmp_path / "x.pth")
    radar = make().modalities[1]
    net = make(modalities=[radar])
    report = backbones.load_checkpoint(net, tmp_path / "x.pth")
    assert report.unexpected and all(name.startswith("stem.optical.") for name in report.unexpected)


def test_a_modality_that_the_file_lacks(make, tmp_path):
    torch.save(official_state(stems={"opt": 3}), tmp_path / "x.pth")
    net = make()
    before = net.stem["sar"].conv1.weight.clone()
    with pytest.raises(ValueError, match=r"stem\.sar\.conv1\.weight: missing in the file.*leave_out=\['stem\.NAME"):
        backbones.load_checkpoint(net, tmp_path / "x.pth")
    report = backbones.load_checkpoint(net, tmp_path / "x.pth", leave_out=["stem.sar.*"])
    assert "stem.sar.conv1.weight" in report.missing and torch.equal(net.stem["sar"].conv1.weight, before)


def test_a_file_of_vheat_is_of_another_network(make, official, tmp_path):
    torch.save(official(post=True), tmp_path / "x.pth")
    with pytest.raises(ValueError, match="do not fit the model"):
        backbones.load_checkpoint(make(), tmp_path / "x.pth")
