"""Loading files into networks: what fits gives the same numbers, what does not is refused and changes nothing."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

import backbones
from backbones import SpectralNet, load_checkpoint
from backbones.weights.loading import fit
from spectral_ops import Precomputed, SpectralEmbedding, resize_embedding


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


@pytest.fixture
def image():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


class DenseNet(SpectralNet):
    """Dense outputs, as the networks for detection have them."""

    def __init__(self, *args, out_indices=(0, 1, 2, 3), **kwargs):
        super().__init__(*args, **kwargs)
        del self.norm, self.head
        self.stages = self.stages[: max(out_indices) + 1]
        channels = {i: self.feature_info[i]["num_chs"] for i in out_indices}
        self.out_norms = nn.ModuleDict({str(i): nn.LayerNorm(c) for i, c in channels.items()})

    def forward(self, x):
        features = self.forward_stages(x)
        return [norm(features[int(i)]) for i, norm in self.out_norms.items()]


def _dense(image=64, **options):
    arguments = {"dims": (8, 12, 16, 20), "depths": (1, 2, 2, 1), "img_size": image, "num_classes": 0, **options}
    return DenseNet(backbones.heat_operator, **arguments)


def _same(model, source):
    theirs = source.state_dict()
    return all(torch.equal(t, theirs[name]) for name, t in model.state_dict().items())


def _refused(model, path, *words, **options):
    """The load fails with these words, and leaves the model untouched."""
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(ValueError) as caught:
        load_checkpoint(model, path, **options)
    for word in (str(path), *words):
        assert word in str(caught.value)
    after = model.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[n], after[n]) for n in before)


# -- files that fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("post", [False, True])
@pytest.mark.parametrize("container", ["model", "state_dict", None])
def test_official_files(container, post, path, official, make_net):
    state = official(post=post, dtype=torch.float32)
    torch.save({container: state, "epoch": 3} if container else state, path)
    net = make_net(post=post)
    report = load_checkpoint(net, path)
    assert report[:3] == ([], [], {})
    exported = backbones.to_official(net.state_dict())
    assert set(exported) == set(state) and all(torch.equal(t, state[name]) for name, t in exported.items())


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_own_files(prefix, path, net, make_net):
    state = {prefix + name: t for name, t in net.state_dict().items()}
    if "backbone" in prefix:
        state["neck.conv.weight"] = torch.zeros(3)
    torch.save({"state_dict": state}, path)
    fresh = make_net()
    assert load_checkpoint(fresh, path)[:3] == ([], [], {})
    assert _same(fresh, net)


def test_the_moving_average(path, official, make_net):
    raw, average = official(seed=1, dtype=torch.float32), official(seed=2, dtype=torch.float32)
    torch.save({"model": raw, "model_ema": average}, path)
    for weights, state in {"raw": raw, "ema": average}.items():
        net = make_net()
        load_checkpoint(net, path, weights=weights)
        assert torch.equal(net.stem.conv1.weight, state["patch_embed.conv1.weight"])


def test_mmengine_keeps_the_average_as_the_model(path, net, make_net, randomise):
    average = randomise(make_net(), seed=2)
    ema_file = {f"module.backbone.{name}": t for name, t in net.state_dict().items()}
    file = {f"backbone.{name}": t for name, t in average.state_dict().items()}
    torch.save({"state_dict": file, "ema_state_dict": {**ema_file, "steps": torch.tensor(5)}}, path)
    for weights, source in {"raw": net, "ema": average}.items():
        fresh = make_net()
        load_checkpoint(fresh, path, weights=weights)
        assert _same(fresh, source)


@pytest.mark.parametrize("rule", ["bicubic", "pad"])
def test_embeddings_of_other_size_are_resized(rule, path, official, make_net, image):
    state = official(dtype=torch.float32)
    torch.save({"model": state}, path)
    net = make_net(image=(128, 96))
    report = load_checkpoint(net, path, resize=rule)
    sizes = {0: (32, 24), 1: (16, 12), 2: (8, 6), 3: (4, 3)}
    assert report.resized == {f"stages.{i}.embedding.weight": ((16 >> i,) * 2, size) for i, size in sizes.items()}
    for i, size in sizes.items():
        expected = resize_embedding(state[f"freq_embed.{i}"], size, rule)
        assert torch.equal(net.stages[i].embedding.weight, expected)


def test_without_resizing_other_sizes_are_an_error(path, official, make_net):
    torch.save({"model": official()}, path)
    words = ("stages.0.embedding.weight", "(16, 16, 8)", "(32, 32, 8)", "resize=", "'bicubic'", "'pad'")
    _refused(make_net(image=128), path, *words, resize=None)
    load_checkpoint(make_net(), path, resize=None)


def test_a_half_precision_file_is_resized_in_single(path, official, make_net):
    torch.save({"model": official(dtype=torch.float16)}, path)
    net = make_net(image=128)
    load_checkpoint(net, path)
    assert net.stages[0].embedding.weight.dtype == torch.float32


def test_a_headless_model_leaves_the_classifier(path, official, make_net):
    torch.save({"model": official()}, path)
    report = load_checkpoint(make_net(classes=0), path)
    assert report[:3] == ([], ["head.fc.weight", "head.fc.bias"], {})


def test_names_that_are_nobodys_are_reported(path, official, make_net):
    torch.save({"model": {**official(), "mask_token": torch.zeros(1)}}, path)
    assert load_checkpoint(make_net(), path).unexpected == ["mask_token"]


def test_a_classification_file_in_a_dense_model(path, official):
    torch.save({"model": official()}, path)
    report = load_checkpoint(_dense(), path)
    assert sorted(report.missing) == sorted(f"out_norms.{i}.{p}" for i in range(4) for p in ("weight", "bias"))
    assert sorted(report.unexpected) == ["head.fc.bias", "head.fc.weight", "norm.bias", "norm.weight"]


@pytest.mark.parametrize("precomputed", [False, True])
def test_a_dense_file_in_a_dense_model(precomputed, path, official, image):
    state = {f"backbone.{n}": t for n, t in official(dense=True, precomputed=precomputed).items()}
    torch.save({"state_dict": {**state, "neck.bias": torch.zeros(1)}}, path)
    dense = _dense()
    assert load_checkpoint(dense, path)[:3] == ([], [], {})
    assert torch.equal(dense.out_norms["2"].weight, state["backbone.outnorm2.weight"].float())
    assert [f.shape for f in dense(image)] == [(2, 16, 16, 8), (2, 8, 8, 12), (2, 4, 4, 16), (2, 2, 2, 20)]


@pytest.mark.parametrize("precomputed", [False, True])
def test_a_dense_model_without_the_last_stages(precomputed, path, official, image):
    torch.save({"model": official(precomputed=precomputed)}, path)
    dense = _dense(out_indices=(1,))
    report = load_checkpoint(dense, path)
    assert {name.split(".")[1] for name in report.unexpected if "stages" in name} == {"2", "3"}
    assert sorted(report.missing) == ["out_norms.1.bias", "out_norms.1.weight"]
    assert dense(image)[0].isfinite().all()


def test_a_dense_file_in_a_classifier(path, official, make_net):
    torch.save({"state_dict": official(dense=True)}, path)
    report = load_checkpoint(make_net(), path)
    assert sorted(report.missing) == ["head.fc.bias", "head.fc.weight", "norm.bias", "norm.weight"]
    assert sorted(report.unexpected) == sorted(f"out_norms.{i}.{p}" for i in range(4) for p in ("weight", "bias"))


# -- precomputed files ------------------------------------------------------------------------------------------------


def test_an_official_precomputed_file(path, official, make_net, image):
    state = official(precomputed=True, dtype=torch.float32)
    torch.save({"model": state}, path)
    net = make_net(image=128).eval()
    assert load_checkpoint(net, path)[:3] == ([], [], {})
    operator = net.stages[1].blocks[1].mixer.operator
    assert isinstance(operator, Precomputed) and operator.source is None and operator.stored_sizes == [(8, 8)]
    assert torch.equal(operator.gain((8, 8)), state["layers.1.1.op.k_exp"])
    assert all(stage.embedding is None for stage in net.stages)
    assert net(image).shape == (2, 7)
    with pytest.raises(ValueError, match=r"no gain is stored for a grid of \(24, 24\)"):
        net(torch.zeros(1, 3, 96, 96))
    assert load_checkpoint(net, path)[:3] == ([], [], {})  # and again


def test_gains_of_several_sizes_saved_by_this_project(path, net, make_net, image):
    wide = torch.randn(1, 3, 64, 100, generator=torch.Generator().manual_seed(2))
    expected = net(image), net(wide)
    net.reparameterize([64, (64, 100)], keep_source=False)
    torch.save(net.state_dict(), path)
    fresh = make_net().eval()
    load_checkpoint(fresh, path)
    assert torch.equal(fresh(image), expected[0]) and torch.equal(fresh(wide), expected[1])


def test_a_reparameterised_network_is_saved_with_its_physics(path, net, make_net, image):
    expected = net(image)
    net.reparameterize([64])
    torch.save(net.state_dict(), path)
    fresh = make_net().eval()
    assert load_checkpoint(fresh, path)[:3] == ([], [], {})
    assert torch.equal(fresh(image), expected)


def test_a_model_whose_gains_would_be_stale(path, net, official):
    torch.save({"model": official()}, path)
    net.reparameterize([64])
    _refused(net, path, "unreparameterize()")


def test_a_model_that_holds_gains_only(path, net, official):
    torch.save({"model": official()}, path)
    net.reparameterize([64], keep_source=False)
    _refused(net, path, "holds gains only", "create the model anew")


def test_an_incomplete_precomputed_file(path, official, make_net):
    state = official(precomputed=True)
    name = "stages.2.blocks.1.mixer.operator.gain_4x4"
    torch.save({"model": {n: t for n, t in state.items() if n != "layers.2.1.op.k_exp"}}, path)
    _refused(make_net(), path, f"{name}: missing in the file")
    torch.save({"model": {**state, "layers.2.1.op.k_exp": torch.ones(4, 4, 5)}}, path)
    _refused(make_net(), path, f"{name}: (4, 4, 5) in the file, 16 channels in the model")
    torch.save({"model": {**state, "layers.2.1.op.k_exp": torch.ones(4, 4, 16, dtype=torch.int32)}}, path)
    _refused(make_net(), path, "torch.int32")


# -- files that do not fit --------------------------------------------------------------------------------------------


def test_another_size_is_named(path):
    with torch.device("meta"):
        models = {arch: SpectralNet(backbones.heat_operator, **spec) for arch, spec in backbones.ARCHS.items()}
    file = {n: torch.zeros(1).expand(t.shape) for n, t in models["small"].state_dict().items()}
    torch.save({"model": backbones.to_official(file)}, path)
    with pytest.raises(ValueError, match="The file is a vheat_small, the model a vheat_tiny") as caught:
        load_checkpoint(models["tiny"], path)
    assert "post-norm" in str(caught.value)
    with pytest.raises(ValueError, match="The file is a vheat_small, the model a vheat_base") as caught:
        load_checkpoint(models["base"], path)
    assert "stem.conv1.weight: (48, 3, 3, 3) in the file, (64, 3, 3, 3) in the model" in str(caught.value)
    torch.save(file, path)
    with pytest.raises(ValueError, match="The file is a vheat_small, the model a vheat_tiny") as caught:
        load_checkpoint(models["tiny"], path)
    assert "stages.0.blocks.0.scale1.gamma: (96,) in the file, missing in the model" in str(caught.value)


def test_a_shallower_file_names_what_is_missing(path, official, make_net):
    torch.save({"model": official(depths=(1, 2, 1, 1))}, path)
    words = ("stages.2.blocks.1.norm1.weight: missing in the file, (16,) in the model", "more", "depths (1, 2, 1, 1)")
    _refused(make_net(), path, *words, "depths (1, 2, 2, 1)")


def test_a_deeper_file_is_not_cut(path, official, make_net):
    torch.save({"model": official(depths=(1, 2, 3, 1))}, path)
    _refused(make_net(), path, "stages.2.blocks.2.norm1.weight: (16,) in the file, missing in the model")


def test_norm_placement(path, official, make_net):
    torch.save({"model": official(post=True)}, path)
    _refused(make_net(layer_scale=0.1), path, "gamma1", "post-norm", "the model is pre-norm")
    torch.save({"model": official()}, path)
    _refused(make_net(post=True), path, "scale1.gamma: missing in the file")


def test_own_pre_norm_network_with_layer_scale(path, make_net, randomise):
    net = randomise(make_net(layer_scale=0.1))
    torch.save(net.state_dict(), path)
    fresh = make_net(layer_scale=0.1)
    load_checkpoint(fresh, path)
    assert _same(fresh, net)


def test_a_classifier_of_other_width(path, official, make_net):
    torch.save({"model": official(classes=9)}, path)
    _refused(make_net(), path, "9 classes", "the model's 7", "num_classes=9", "num_classes=0")


def test_one_missing_trunk_tensor_changes_nothing(path, official, make_net):
    state = official()
    del state["layers.3.0.mlp.fc2.bias"]
    torch.save({"model": state}, path)
    _refused(make_net(), path, "stages.3.blocks.0.mlp.fc2.bias: missing in the file")


@pytest.mark.parametrize("value", [torch.zeros(12, dtype=torch.int64), torch.zeros(13)])
def test_one_misfit_changes_nothing(value, path, official, make_net):
    torch.save({"model": {**official(), "layers.1.0.norm1.bias": value}}, path)
    _refused(make_net(), path, "stages.1.blocks.0.norm1.bias", "in the file, (12,) in the model")


def test_a_damaged_embedding(path, official, make_net):
    torch.save({"model": {**official(), "freq_embed.1": torch.zeros(8, 12)}}, path)
    _refused(make_net(), path, "stages.1.embedding.weight: (8, 12) in the file, (8, 8, 12) in the model")


def test_a_file_of_another_model(path, make_net):
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1), "layer1.0.bias": torch.zeros(1)}}, path)
    _refused(make_net(), path, "the tensors of no network of this project (conv1.weight, layer1.0.bias)")


def test_a_container_that_is_not_there(path, official, make_net):
    torch.save({"model": official()}, path)
    _refused(make_net(), path, "weights='ema': the file holds no such weights (raw in model)", weights="ema")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"PK\x03\x04 and then nothing", "corrupt"),
        (b"cposix\nmkdir\n(S'x'\ntR.", "refused"),
    ],
)
def test_files_that_cannot_be_read(content, words, path, make_net):
    path.write_bytes(content)
    _refused(make_net(), path, words)


def test_a_missing_file(path, make_net):
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        load_checkpoint(make_net(), path)


# -- any network ------------------------------------------------------------------------------------------------------


class Other(nn.Module):
    """No network of this project, with a learned map of another name and an optional part of its own."""

    def __init__(self, size=4, classes=3):
        super().__init__()
        self.trunk = nn.Linear(6, 6)
        self.frequencies = SpectralEmbedding((size, size), 6, "pad")
        self.embedding = nn.Embedding(size, 6)  # no map, whatever its name ends with
        self.top = nn.Linear(6, classes)


def test_what_is_resized_and_what_is_optional_is_the_models_own():
    model, state = Other(), Other(size=6).state_dict()
    state["embedding.weight"] = model.state_dict()["embedding.weight"]
    found = fit(model, {**state, "top.scale": torch.zeros(1)}, optional=["top."])
    assert found.resized == {"frequencies.weight": ((6, 6), (4, 4))} and found.unexpected == ["top.scale"]
    expected = resize_embedding(state["frequencies.weight"], (4, 4), "pad")
    assert torch.equal(found.tensors["frequencies.weight"], expected)
    bicubic = fit(model, state, resize="bicubic").tensors["frequencies.weight"]
    assert torch.equal(bicubic, resize_embedding(state["frequencies.weight"], (4, 4)))
    del state["top.bias"]
    assert fit(model, state, optional=["top."]).missing == ["top.bias"]
    with pytest.raises(ValueError, match=r"top.bias: missing in the file, \(3,\) in the model"):
        fit(model, state)
    with pytest.raises(ValueError, match=r"its classifier has 3 classes and the model's 5: .*num_classes=3"):
        fit(Other(classes=5), state, optional=["top."])
    with pytest.raises(ValueError, match=r"embedding.weight: \(6, 6\) in the file, \(4, 6\) in the model"):
        fit(model, Other(size=6).state_dict())


@pytest.mark.parametrize("name", ["vwave_nano", "vheat_tiny"])
def test_of_another_network_is_said_before_its_classes(name):
    model = timm.create_model("vheat_nano", num_classes=5)
    state = timm.create_model(name).state_dict()
    with pytest.raises(ValueError, match=rf"do not fit the model: .*The file is a {name}, the model a vheat_nano$"):
        fit(model, state)
    same = timm.create_model("vheat_nano", img_size=64).state_dict()
    with pytest.raises(ValueError, match=r"its classifier has 1000 classes and the model's 5"):
        fit(model, same)
    with pytest.raises(ValueError, match=r"its classifier has 1000 classes and the model's 5"):
        fit(model, same, resize=None)
    same = timm.create_model("vheat_nano", img_size=64, num_classes=5).state_dict()
    with pytest.raises(ValueError, match=r"Both are a vheat_nano\. Embeddings of other sizes are resized with resize="):
        fit(model, same, resize=None)


def test_fitting_changes_nothing(official, make_net):
    model, state = make_net(image=128), backbones.convert_checkpoint(official(precomputed=True)).state_dict
    before = {name: t.clone() for name, t in model.state_dict().items()}, dict(state)
    found = fit(model, state)
    assert len(found.gains) == 6 and not found.gains.keys() & found.tensors.keys()
    assert list(state) == list(before[1]) and list(model.state_dict()) == list(before[0])
    assert all(torch.equal(t, before[0][name]) for name, t in model.state_dict().items())


# -- arguments --------------------------------------------------------------------------------------------------------


def test_unknown_arguments(path, make_net):
    with pytest.raises(ValueError, match=r"resize must be one of \('bicubic', 'pad'\) or None, got 'bilinear'"):
        load_checkpoint(make_net(), path, resize="bilinear")
    with pytest.raises(ValueError, match=r"weights must be one of \('raw', 'ema'\), got 'average'"):
        load_checkpoint(make_net(), path, weights="average")
    with pytest.raises(TypeError, match=r"model must be a backbones\.SpectralNet or HiViT, got Linear"):
        load_checkpoint(nn.Linear(2, 2), path)


def test_what_is_left_out_keeps_its_start_and_says_why(path, official, make_net):
    state = official(dtype=torch.float32)
    torch.save({n: t for n, t in state.items() if not n.startswith("classifier.3.")} | {"step": torch.ones(1)}, path)
    net = make_net()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    report = load_checkpoint(net, path, leave_out=["stages.*.embedding.*"])
    asked = [f"stages.{i}.embedding.weight" for i in range(4)]
    classifier = ["head.fc.weight", "head.fc.bias"]
    assert sorted(report.missing) == sorted(asked + classifier) and report.unexpected == ["step", *asked]
    assert report.reasons == {
        **dict.fromkeys(asked, "left out as asked"),
        **dict.fromkeys(classifier, "not in the file; it keeps its start"),
        "step": "no network of this project has such a tensor",
    }
    same = {n for n, t in net.state_dict().items() if torch.equal(t, before[n])}
    assert same == {*asked, *classifier}
    with pytest.raises(ValueError, match=r"leave_out: neither the file nor the model has a tensor that fits 'hed\.\*'"):
        load_checkpoint(net, path, leave_out=["hed.*"])
    with pytest.raises(ValueError, match="leave_out must be a list of patterns of names, got 'head'"):
        load_checkpoint(net, path, leave_out="head")
