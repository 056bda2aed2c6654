"""``pretrained=True``: cards, files, folders and hubs, adapted to the model as timm adapts its own weights."""

from __future__ import annotations

import copy
import os
import pickle
import sys
import types

import pytest
import timm
import torch
from timm.models import _hub as timm_hub
from timm.models import adapt_input_conv, save_for_hf

import backbones
from backbones import load_checkpoint
from spectral_ops import Precomputed, resize_embedding

DIMS, DEPTHS = (8, 12, 16, 20), (1, 2, 2, 1)
IMAGE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def create(name="vheat_tiny", **options):
    """A small network under a published name, made by timm."""
    return timm.create_model(name, **{"dims": DIMS, "depths": DEPTHS, "img_size": 64, **options}).eval()


def from_file(path, **options):
    return create(pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **options)


@pytest.fixture
def path(official, tmp_path):
    """An official classification file with seven classes."""
    torch.save({"model": official(dtype=torch.float32)}, tmp_path / "official.pth")
    return tmp_path / "official.pth"


@pytest.fixture
def source(path, make_net):
    """The network of that file."""
    net = make_net().eval()
    load_checkpoint(net, path)
    return net


def same(found, expected, but=()):
    theirs = expected.state_dict()
    return all(torch.equal(t, theirs[n]) for n, t in found.state_dict().items() if not n.startswith(but))


# -- cards ------------------------------------------------------------------------------------------------------------


def test_published_models_have_a_card():
    for name, top1, rate in (("tiny", "82.2", "1514"), ("small", "83.6", "945"), ("base", "83.9", "661")):
        cfg = timm.models.get_pretrained_cfg(f"vheat_{name}")
        assert cfg.tag == "in1k" and timm.models.get_pretrained_cfg(f"vheat_{name}.in1k") == cfg
        assert f"top-1 {top1} %" in cfg.description and f"{rate} images" in cfg.description
        assert cfg.num_classes == 1000 and cfg.paper_ids == "arXiv:2405.16555" and not cfg.has_weights
    assert set(backbones.PUBLISHED) == {"vheat_tiny", "vheat_small", "vheat_base"}
    with torch.device("meta"):
        assert timm.create_model("vheat_tiny.in1k").pretrained_cfg["tag"] == "in1k"
    with pytest.raises(RuntimeError, match=r"Invalid pretrained tag \(in22k\) for vheat_tiny"):
        timm.create_model("vheat_tiny.in22k")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vheat_tiny", ["ImageNet-1K checkpoint of vHeat-T from its authors' release (arXiv:2405.16555)"]),
        ("vheat_base.in1k", ["checkpoint of vHeat-B"]),
        ("vheat_nano", ["No pretrained weights exist for vheat_nano: none have been published"]),
        ("vwave_tiny", ["No pretrained weights exist for vwave_tiny"]),
    ],
)
def test_without_a_source_the_error_says_what_to_do(name, words):
    with pytest.raises(RuntimeError) as caught:
        timm.create_model(name, pretrained=True)
    for word in (*words, "pretrained_cfg_overlay=dict(file=PATH)", "load_checkpoint(model, PATH)", "hf_hub_id="):
        assert word in str(caught.value)


# -- files ------------------------------------------------------------------------------------------------------------


def test_an_official_file(path, source):
    net = from_file(path, num_classes=7)
    assert same(net, source) and torch.equal(net(IMAGE), source(IMAGE))
    assert net.pretrained_cfg["file"] == str(path) and "state_dict" not in net.pretrained_cfg


@pytest.mark.parametrize("options", [{}, {"num_classes": 3}, {"features_only": True}])
def test_the_network_is_an_ordinary_one(options, path):
    net = from_file(path, **{"num_classes": 7, **options})
    trunk = net.model if "features_only" in options else net
    assert type(trunk) is backbones.SpectralNet and not hasattr(trunk, "load_pretrained")
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        for found, expected in zip(copied(IMAGE), net(IMAGE), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["list", "dict", "hook", "getter"])
def test_features_of_every_kind_hold_the_weights(kind, path, source):
    net = from_file(path, features_only=True, feature_cls=kind)
    found = net(IMAGE)
    maps = list(found.values()) if isinstance(found, dict) else found
    expected = source.forward_intermediates(IMAGE, intermediates_only=True)
    for ours, theirs in zip(maps, expected, strict=True):
        assert torch.equal(ours if ours.shape == theirs.shape else ours.permute(0, 3, 1, 2), theirs)


def test_a_post_norm_file_in_a_pre_norm_network(official, tmp_path):
    torch.save(official(post=True, dtype=torch.float32), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x.pth: an official file with gamma1 is post-norm, the model is pre-norm"):
        from_file(tmp_path / "x.pth", num_classes=7, layer_scale=0.1)


def test_a_half_precision_file_is_resized_in_single(official, tmp_path, make_net):
    torch.save(official(dtype=torch.float16), tmp_path / "x.pth")
    expected = make_net(image=96)
    load_checkpoint(expected, tmp_path / "x.pth")
    assert same(from_file(tmp_path / "x.pth", num_classes=7, img_size=96), expected)


def test_a_configuration_pickled_beside_the_weights(official, source, tmp_path, monkeypatch):
    save_for_hf(create(num_classes=7), tmp_path)
    path = tmp_path / "pytorch_model.bin"
    with monkeypatch.context() as patch:
        node = type("CfgNode", (dict,), {"__module__": "yacs.config", "__qualname__": "CfgNode"})
        for name in ("yacs", "yacs.config"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        sys.modules["yacs.config"].CfgNode = node
        torch.save({"model": official(dtype=torch.float32), "config": node(TYPE="vHeat")}, path)
    assert same(from_file(path, num_classes=7), source)
    assert same(timm.create_model(f"local-dir:{tmp_path}", pretrained=True), source)


def test_a_hostile_file_runs_nothing(tmp_path, official):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "marker"),)

    torch.save({"model": official(dtype=torch.float32), "extra": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"refused to read .*evil.pth"):
        from_file(tmp_path / "evil.pth")
    save_for_hf(create(), tmp_path)
    (tmp_path / "evil.pth").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(RuntimeError, match="blocked loading"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("rule", ["bicubic", "pad"])
def test_another_image_size(rule, path, source):
    net = from_file(path, num_classes=7, img_size=(96, 128), embed_resize=rule)
    assert same(net, source, but=tuple(f"stages.{i}.embedding" for i in range(4)))
    for ours, theirs in zip(net.stages, source.stages, strict=True):
        sizes = ours.embedding.weight.shape[:2]
        assert torch.equal(ours.embedding.weight, resize_embedding(theirs.embedding.weight, sizes, rule))
    assert net.stages[0].embedding.weight.shape == (24, 32, 8)


def test_other_classes_leave_the_classifier_fresh(path, source):
    net = from_file(path, num_classes=5)
    assert same(net, source, but="head.") and net.head.fc.weight.std() < 0.05 and not net.head.fc.bias.any()
    assert net(IMAGE).shape == (2, 5)
    net = from_file(path, num_classes=0)
    assert same(net, source) and net(IMAGE).shape == (2, 20)
    assert torch.equal(net(IMAGE), source.forward_head(source.forward_features(IMAGE), pre_logits=True))


@pytest.mark.parametrize("overlay", [{}, {"num_classes": 9}])
def test_a_classifier_that_is_random_because_nobody_gave_its_size_is_warned_of(overlay, path, source):
    classes = overlay.get("num_classes", 1000)
    words = rf"official.pth has a classifier of 7 classes and vheat_tiny has {classes} .*num_classes=7 keeps .*=0 takes"
    with pytest.warns(UserWarning, match=words):
        net = create(pretrained=True, pretrained_cfg_overlay={"file": str(path), **overlay})
    assert same(net, source, but="head.") and net(IMAGE).shape == (2, classes)


@pytest.mark.parametrize("options", [{"features_only": True}, {"num_classes": 1000}, {"num_classes": 0}])
def test_no_warning_where_it_is_meant(options, path):
    """Warnings are errors in this suite."""
    from_file(path, **options)


def test_a_file_without_a_classifier_is_refused_where_none_was_asked_for(path, tmp_path, source):
    source.reset_classifier(0)
    torch.save(source.state_dict(), tmp_path / "x.pth")
    with pytest.raises(RuntimeError, match=r"head\.fc"):
        from_file(tmp_path / "x.pth")


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_other_input_channels(channels, path, source):
    net = from_file(path, num_classes=7, in_chans=channels)
    assert same(net, source, but="stem.conv1.weight")
    assert torch.equal(net.stem.conv1.weight, adapt_input_conv(channels, source.stem.conv1.weight))
    if channels != 2:  # the same grey image in every channel looks the same
        grey = IMAGE[:, :1]
        given = grey.expand(-1, channels, -1, -1)
        torch.testing.assert_close(net(given), source(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dense", [False, True])
def test_features_only(dense, official, tmp_path, make_net):
    torch.save(official(dense=dense, dtype=torch.float32), tmp_path / "x.pth")
    net = make_net(classes=0).eval()
    load_checkpoint(net, tmp_path / "x.pth")
    features = from_file(tmp_path / "x.pth", features_only=True, out_indices=(1, 3))(IMAGE)
    expected = net.forward_intermediates(IMAGE, indices=[1, 3], intermediates_only=True)
    assert all(map(torch.equal, features, expected))


@pytest.mark.parametrize("options", [{"num_classes": 7}, {"num_classes": 3, "in_chans": 1}])
def test_a_precomputed_file(options, official, tmp_path, make_net):
    torch.save({"model": official(precomputed=True, dtype=torch.float32)}, tmp_path / "x.pth")
    source = make_net().eval()
    load_checkpoint(source, tmp_path / "x.pth")
    net = from_file(tmp_path / "x.pth", **options)
    assert all(isinstance(b.mixer.operator, Precomputed) for s in net.stages for b in s.blocks)
    but = () if options["num_classes"] == 7 else ("head.", "stem.conv1.")
    assert same(net, source, but=but)
    if not but:
        assert torch.equal(net(IMAGE), source(IMAGE))


def test_a_file_of_this_project_with_other_channels_needs_no_overlay(tmp_path):
    source = create(in_chans=13, num_classes=4)
    torch.save(source.state_dict(), tmp_path / "x.pth")
    assert same(from_file(tmp_path / "x.pth", in_chans=13, num_classes=4), source)


def test_tensors_given_directly(official, source):
    overlay = {"state_dict": official(dtype=torch.float32), "num_classes": 7}
    assert same(create(pretrained=True, pretrained_cfg_overlay=overlay, num_classes=7), source)


def test_files_that_do_not_fit(path, tmp_path, official):
    with pytest.raises(
        ValueError, match=r"official.pth: .*The file is a vheat of widths .*12, 16.*, the model a vheat_nano"
    ):
        timm.create_model("vheat_nano", pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    with pytest.raises(FileNotFoundError, match=r"no such checkpoint: .*nothing.pth"):
        from_file(tmp_path / "nothing.pth")
    with pytest.raises(ValueError, match=r"do not fit the model: .*diffusivity.raw: missing in the file"):
        from_file(path, diffusivity="channel")
    state = official(precomputed=True, dtype=torch.float32)
    del state["layers.1.1.op.k_exp"]
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"do not fit the model: stages.1.blocks.1.*missing in the file"):
        from_file(tmp_path / "x.pth")


# -- folders and hubs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"diffusivity": "channel", "in_chans": 2}, {"img_size": (64, 96)}])
def test_a_folder_that_timm_wrote(options, randomise, tmp_path):
    source = randomise(timm.create_model("vheat_nano", num_classes=5, **options)).eval()
    save_for_hf(source, tmp_path)
    net = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert same(net, source) and net.state_dict().keys() == source.state_dict().keys()
    x = torch.randn(1, source.in_chans, 64, 64)
    assert torch.equal(net(x), source(x))


def test_an_official_file_in_such_a_folder(path, source, make_net, tmp_path):
    save_for_hf(create(num_classes=7), tmp_path)
    path.rename(tmp_path / "pytorch_model.bin")
    net = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, img_size=64)
    assert same(net, source)


def test_a_hub(path, source, monkeypatch):
    asked = []

    def download(repo_id, filename, **_):
        asked.append((repo_id, filename))
        if filename != "pytorch_model.bin":
            raise timm_hub.EntryNotFoundError("not there")
        return str(path)

    monkeypatch.setattr(timm_hub, "hf_hub_download", download)
    overlay = {"hf_hub_id": "someone/vheat_small_file", "num_classes": 7}
    assert same(create(pretrained=True, pretrained_cfg_overlay=overlay, num_classes=7), source)
    assert asked[-1] == ("someone/vheat_small_file", "pytorch_model.bin")


def test_a_hub_out_of_reach(monkeypatch):
    def download(*_, **__):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(timm_hub, "hf_hub_download", download)
    with pytest.raises(OSError, match="cannot fetch someone/vheat: Name or service not known") as caught:
        create(pretrained=True, pretrained_cfg_overlay={"hf_hub_id": "someone/vheat"})
    assert "pretrained_cfg_overlay=dict(file=PATH)" in str(caught.value)
