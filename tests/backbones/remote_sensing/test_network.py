"""RSVHeat's modalities: which are there, how they are fused, and that everything else is the spectral network's."""

from __future__ import annotations

import copy

import onnxruntime
import pytest
import torch
from timm.models import create_feature_extractor
from timm.utils.onnx import onnx_export
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, export

from backbones import SpectralNet, heat_operator, spectral_blocks
from backbones.remote_sensing import OPTICAL, SAR, BilinearMap, GuidedMixer, ModalitySpec, RSVHeat

ARCH = {"dims": (8, 12, 16, 20), "depths": (1, 1, 2, 1), "init_std": None}


def _pair(size=(64, 96), batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    optical = torch.rand(batch, 3, *size, generator=generator) * 255
    return {"optical": optical, "sar": -20 * torch.rand(batch, 1, *size, generator=generator)}


@pytest.fixture
def net(randomise):
    return randomise(RSVHeat(ARCH, img_size=64, num_classes=5)).eval()


def _without(net, *names):
    """The same network without stems of these modalities."""
    specs = [spec for spec in net.modalities if spec.name not in names]
    smaller = RSVHeat(ARCH, modalities=specs, img_size=64, num_classes=5).eval()
    state = {n: t for n, t in net.state_dict().items() if not n.startswith(tuple(f"stem.{name}." for name in names))}
    smaller.load_state_dict(state)
    return smaller


def test_values_of_fake_tensors_are_not_asked_for(net):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert net({name: mode.from_tensor(x) for name, x in _pair().items()}).shape == (2, 5)


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (100, 44)])
def test_one_modality_alone_is_a_model_without_the_others(net, size):
    pair = _pair(size)
    for name, other in (("optical", "sar"), ("sar", "optical")):
        alone = net({name: pair[name]})
        assert torch.equal(alone, _without(net, other)({name: pair[name]}))
        assert torch.equal(alone, _without(net, other)(pair[name]))  # packed, it is that modality
        assert not torch.allclose(alone, net(pair), atol=1e-3)


@torch.no_grad()
def test_packed_images_are_the_dict(net):
    pair = _pair()
    packed = torch.cat([pair["optical"], pair["sar"]], 1)
    assert torch.equal(net(packed), net(pair))
    assert torch.equal(net(packed), net(dict(reversed(pair.items()))))


@torch.no_grad()
def test_mean_and_concat(net, randomise):
    pair = _pair()
    each = net.forward_modalities(pair)
    wide = RSVHeat(ARCH, img_size=64, num_classes=5, fusion="concat").eval()
    shared = {n: t for n, t in net.state_dict().items() if not n.startswith(("norm", "head"))}
    assert wide.load_state_dict(shared, strict=False).missing_keys == [
        "norm.weight", "norm.bias", "head.fc.weight", "head.fc.bias",
    ]  # fmt: skip
    assert net.out_channels == [8, 12, 16, 20] and wide.out_channels == [16, 24, 32, 40]
    for i, (mean, concat) in enumerate(zip(net.forward_stages(pair), wide.forward_stages(pair), strict=True)):
        assert torch.allclose(mean, (each["optical"][i] + each["sar"][i]) / 2)
        assert torch.equal(concat, torch.cat([each["optical"][i], each["sar"][i]], -1))
    radar = wide.forward_stages({"sar": pair["sar"]})
    for i, concat in enumerate(radar):
        assert not concat[..., : net.out_channels[i]].any()
        assert torch.allclose(concat[..., net.out_channels[i] :], each["sar"][i], atol=1e-5)
    assert wide(pair).shape == (2, 5) and wide.num_features == 40
    assert [m.shape[1] for m in wide.forward_intermediates(pair, intermediates_only=True)] == wide.out_channels


def test_modality_dropout(net):
    net.modality_dropout = 0.6
    pair = _pair((32, 32), batch=64)
    each = {name: maps[0] for name, maps in net.forward_modalities(pair, 0).items()}
    assert torch.allclose(net.forward_stages(pair, 0)[0], (each["optical"] + each["sar"]) / 2)  # not in evaluation
    net.train()
    torch.manual_seed(0)
    fused = net.forward_stages(pair, 0)[0]
    choices = {"both": (each["optical"] + each["sar"]) / 2, **each}
    counts = dict.fromkeys(choices, 0)
    for i in range(64):
        (found,) = [name for name, maps in choices.items() if torch.allclose(fused[i], maps[i], atol=1e-4)]
        counts[found] += 1
    # Both stay with 0.16, one alone with 0.42 each; no sample is left with none.
    assert 2 <= counts["both"] <= 22 and min(counts["optical"], counts["sar"]) >= 14
    fused.sum().backward()
    assert all(p.grad is not None for p in net.stem.parameters())
    wide = RSVHeat(ARCH, img_size=64, fusion="concat", modality_dropout=0.6).train()
    halves = wide.forward_stages(pair, 0)[0].chunk(2, -1)
    empty = [(half.flatten(1) == 0).all(1) for half in halves]
    assert empty[0].any() and empty[1].any() and not (empty[0] & empty[1]).any()


@torch.no_grad()
def test_deployment_is_exact_and_can_be_undone(net):
    pair = _pair((64, 64))
    others = _pair((48, 80))
    before = net(pair), net(others)
    net.reparameterize([64, (48, 80)])
    assert torch.equal(net(pair), before[0]) and torch.equal(net(others), before[1])
    net.unreparameterize()
    assert torch.equal(net(pair), before[0])
    net.reparameterize([64], keep_source=False)
    assert torch.equal(net(pair), before[0])
    assert all(stage.embedding is None and stage.guide is not None for stage in net.stages)
    with pytest.raises(ValueError, match="no gain is stored"):
        net(others)


@torch.no_grad()
def test_any_spectral_network_can_be_guided(randomise):
    """The mixer is a variant, not a network: around any operator, and what it adds is in its equation."""
    block = spectral_blocks(heat_operator, mixer=GuidedMixer)
    options = {"dims": (8, 16), "depths": (1, 1), "img_size": 64, "num_classes": 3}
    net = randomise(SpectralNet(block=block, maps={"guide": BilinearMap}, **options)).eval()
    mixer, x = net.stages[0].blocks[0].mixer, torch.randn(2, 16, 16, 8)
    maps = net.stages[0].maps((16, 16))
    plain = copy.deepcopy(mixer)
    plain.__class__ = GuidedMixer.__mro__[1]
    expected = plain(mixer.norm_in(torch.relu(x + net.stages[0].guide.weight)), maps["embedding"])
    assert torch.equal(mixer(x, **maps), expected)
    images = torch.randn(1, 3, 64, 64)
    before = net(images)
    net.reparameterize([64], keep_source=False)
    assert torch.equal(net(images), before)


@torch.no_grad()
def test_hidden_pixels_change_nothing(net):
    pair = _pair((64, 64))
    visible = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(3)).gt(0.5)
    visible = visible.repeat_interleave(16, 2).repeat_interleave(16, 3)
    spoilt = {name: torch.where(visible, images, torch.nan) for name, images in pair.items()}
    for a, b in zip(
        net.forward_stages(pair, visible=visible), net.forward_stages(spoilt, visible=visible), strict=True
    ):
        assert torch.equal(a, b) and a.isfinite().all()
    alone = {"optical": visible, "sar": torch.ones_like(visible)}
    each, full = net.forward_modalities(pair, visible=alone), net.forward_modalities(pair)
    assert torch.allclose(each["sar"][3], full["sar"][3], atol=1e-4)
    assert not torch.allclose(each["optical"][3], full["optical"][3], atol=1e-2)
    with pytest.raises(ValueError, match=r"a mask for each of \['optical', 'sar'\], got \['sar'\]"):
        net.forward_stages(pair, visible={"sar": visible})
    with pytest.raises(ValueError, match="visible must be bool of shape"):
        net.forward_stages(pair, visible=visible[:1])


def test_gradients_reach_everything(net):
    net.train()
    net(_pair()).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    groups = net.group_matcher()["blocks"]
    assert "guide" in groups[0][0]
    net.set_grad_checkpointing()
    assert net(_pair()).requires_grad


def test_exports_with_any_size(net):
    packed = torch.cat(list(_pair((64, 96)).values()), 1)
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(net, (packed,), dynamic_shapes=({2: dynamic, 3: dynamic},))
    other = torch.cat(list(_pair((96, 64)).values()), 1)
    with torch.no_grad():
        assert torch.allclose(program.module()(other), net(other), atol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({}, r"some of the modalities \['optical', 'sar'\]: none is given"),
        ({"lidar": torch.zeros(1, 1, 64, 64)}, r"\['lidar'\] are not known"),
        ({"optical": torch.zeros(1, 4, 64, 64)}, r"'optical' has 3 bands \(R, G, B\) in uint8.*got \(1, 4, 64, 64\)"),
        ({"sar": torch.zeros(1, 1, 31, 64)}, "'sar' must be at least 32 px high and wide"),
        ({"optical": torch.zeros(2, 3, 64, 64), "sar": torch.zeros(1, 1, 64, 64)}, "pairs of the same size: 'optical'"),
        ({"optical": torch.zeros(1, 3, 64, 64), "sar": torch.zeros(1, 1, 64, 32)}, r"'sar' \(1, 1, 64, 32\)"),
        (torch.zeros(1, 3, 64, 64), r"\(B, 4, H, W\), the bands of all modalities \(optical: R, G, B; sar: VV\)"),
        ({"sar": torch.zeros(1, 1, 64, 64, dtype=torch.int16)}, "must be of floating point, got torch.int16"),
        ({"sar": torch.rand(1, 1, 64, 64)}, r"band 'VV' of modality 'sar'.*none is negative.*dB, -100 to 60"),
        ({"optical": torch.rand(1, 3, 64, 64)}, r"band 'R' of modality 'optical'.*range of uint8, 0 to 255"),
    ],
)
def test_images_that_do_not_fit(net, images, message):
    with pytest.raises(ValueError, match=message):
        net(images)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"fusion": "sum"}, ValueError, r"fusion must be one of \('mean', 'concat'\), got 'sum'"),
        ({"modality_dropout": 1.0}, ValueError, r"modality_dropout must be in \[0, 1\), got 1.0"),
        ({"modalities": []}, ValueError, "at least one"),
        ({"modalities": [SAR, SAR]}, ValueError, r"different names, got \['sar', 'sar'\]"),
        ({"modalities": SAR}, TypeError, "must be a list of ModalitySpec"),
        ({"modalities": [{"name": "sar"}]}, TypeError, "a modality must be a ModalitySpec or a dict of name, bands"),
        ({"arch": "huge"}, ValueError, "arch must be one of"),
        ({"operator": "fire"}, ValueError, "operator must be one of"),
    ],
)
def test_arguments_that_do_not_fit(options, kind, message):
    with pytest.raises(kind, match=message):
        RSVHeat(**{"arch": ARCH, **options})


def test_meta_and_dtype():
    net = RSVHeat(ARCH, img_size=64, num_classes=2, fusion="concat", device="meta", dtype=torch.float64)
    assert {p.device.type for p in net.parameters()} == {"meta"} and net.norm.weight.dtype == torch.float64
    net.to_empty(device="cpu").init_weights()
    assert net.eval()({name: images.double() for name, images in _pair().items()}).isfinite().all()
    net.load_state_dict(net.state_dict())  # the descriptions are there again


def test_other_operators():
    spec = ModalitySpec("dem", ("height",), None, mean=300.0, std=100.0)
    net = RSVHeat(ARCH, modalities=[OPTICAL, spec], img_size=64, operator=["wave", "wave", "heat", "heat"])
    assert net.stages[0].embedding is None and net.stages[2].embedding is not None
    assert net({"dem": torch.full((1, 1, 64, 64), 310.0)}).shape == (1, 20)


def test_fx_graph_of_packed_images(make):
    net = make(num_classes=5)
    graph = create_feature_extractor(net, ["stages.2.blocks.0", "head.fc"])
    for size in ((64, 96), (32, 50)):
        x = torch.randn(2, 4, *size, dtype=torch.float64)
        torch.testing.assert_close(graph(x)["head.fc"], net(x))
    with pytest.raises(ValueError, match=r"packed images must have shape \(B, 4, H, W\)"):
        graph(x[:, :3])


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")  # of torch's exporter about itself
def test_torchscript_and_onnx_by_tracing_as_timm_exports(make, tmp_path):
    net, file = make(num_classes=5).float(), str(tmp_path / "net.onnx")
    traced = torch.jit.trace(net, torch.randn(2, 4, 64, 96))
    onnx_export(net, file, example_input=torch.randn(1, 4, 64, 96), dynamic_size=True)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for size in ((64, 96), (100, 70)):
        x = torch.randn(1, 4, *size)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        for y in (torch.from_numpy(found), traced(x)):
            torch.testing.assert_close(y, net(x), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_export_with_any_batch_and_size(make):
    net = make(num_classes=5)
    batch, height, width = (Dim(n, min=2, max=9) for n in "bhw")
    x = torch.randn(2, 4, 64, 96, dtype=torch.float64)
    packed = export(net, (x,), dynamic_shapes=({0: batch, 2: 32 * height, 3: 32 * width},)).module()
    for shape in ((3, 4, 96, 64), (2, 4, 64, 160)):
        x = torch.randn(*shape, dtype=torch.float64)
        torch.testing.assert_close(packed(x), net(x))
