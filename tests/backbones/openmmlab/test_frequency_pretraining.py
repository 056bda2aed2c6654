"""RS-vHeat's pre-training in mmengine: modes, resumed runs, pictures, and the published file in other backbones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import torch
import toy_run
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import load_checkpoint
from PIL import Image
from toy_pretraining import runner

from backbones.openmmlab import read_safely
from backbones.remote_sensing import specs_in
from backbones.weights.loading import read_weights
from backbones.weights.reading import read_metadata

MODALITIES = [
    {"name": "optical", "bands": ["R", "G", "B"], "unit": "uint8", "mean": 120.0, "std": 60.0},
    {"name": "sar", "bands": ["VV", "VH"], "unit": "dB", "mean": [-11.0, -17.0], "std": 5.0, "clip": [-30.0, 5.0]},
]
BACKBONE = {
    "type": "RSVHeat",
    "arch": {"dims": [8, 12, 16, 20], "depths": (1, 1, 1, 1), "init_std": None},
    "modalities": MODALITIES,
    "img_size": 64,
}
MODEL = {
    "type": "FrequencyPretraining",
    "backbone": {**BACKBONE, "out_indices": (2, 3)},
    "hiding": {"type": "FrequencyHiding", "hide": "bands", "share": (0.02, 0.1)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten places, of which one has no radar."""
    folder = tmp_path_factory.mktemp("pairs")
    for name in ("optical", "sar"):
        (folder / name).mkdir()
    for i in range(10):
        noise = np.random.default_rng(i)
        Image.fromarray(noise.integers(0, 255, (72, 80, 3), np.uint8)).save(folder / f"optical/{i}.png")
        if i != 4:
            bands = noise.normal(-14, 4, (2, 72, 80)).astype(np.float32)
            tifffile.imwrite(folder / f"sar/{i}.tif", bands, planarconfig="separate", photometric="minisblack")
    return folder


def dataset(folder, **options):
    return {
        "type": "PairFolder", "data_root": str(folder), "modalities": MODALITIES, "size": 64, "partnerless": "keep",
        **options,
    }  # fmt: skip


def run_of(folder, data, hiding=None, **options):
    """The toy run with this model and data."""
    model = {**MODEL, "hiding": {**MODEL["hiding"], **(hiding or {})}}
    return runner(folder, data, images=dataset(data), **model, **options)


def batch(folder, count=3):
    data = DATASETS.build(dataset(folder, train=False))
    return pseudo_collate([data[i] for i in range(count)])


def test_modes(folder):
    torch.manual_seed(0)
    model = MODELS.build({**MODEL, "hiding": {**MODEL["hiding"], "clean": 0.0}}).eval()
    data = model.data_preprocessor(batch(folder), False)
    assert data["inputs"].shape == (3, 5, 64, 64) and data["data_samples"][1].place == "1"
    maps = model(**data)
    expected = model.backbone(data["inputs"])
    assert [tuple(m.shape) for m in maps] == [(3, 16, 4, 4), (3, 20, 2, 2)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(maps, expected, strict=True))
    torch.manual_seed(0)
    losses = model(**data, mode="loss")
    assert list(losses) == ["loss_contrast", "loss_spatial", "loss_spectral", "retrieval", "spread"]
    total, log = model.parse_losses(losses)
    assert torch.allclose(total, sum(loss for name, loss in losses.items() if "loss" in name)) and "retrieval" in log
    torch.manual_seed(0)
    plain = model.losses(torch.stack(batch(folder)["inputs"]))
    assert all(torch.equal(plain[n], losses[f"loss_{n}"]) for n in plain)
    samples = model(**data, mode="predict")
    again = model(**data, mode="predict")
    assert samples[0].losses == again[0].losses and set(samples[0].losses) == set(losses)
    # What the network sees afterwards is measured.
    assert samples[0].losses["spread"] == pytest.approx(float(model.measured_whole(data["inputs"])["spread"]))


def test_metric_adds_losses_alone():
    from backbones.openmmlab import PretrainingLoss

    metric = PretrainingLoss()
    metric.results = [{"loss_a": 1.0, "loss_b": 2.0, "retrieval": 0.5}, {"loss_a": 3.0, "loss_b": 4.0}]
    assert metric.compute_metrics(metric.results) == {"loss_a": 2.0, "loss_b": 3.0, "retrieval": 0.5, "loss": 5.0}


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler")
@pytest.mark.parametrize("hide", ["bands", "sectors", "units"])
def test_a_resumed_run_is_the_unbroken_one(hide, folder, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    pictures = {"type": "ReconstructionHook", "interval": 2, "images": 2}
    options = {"hiding": {"hide": hide}, "validate": True}
    run_of(whole, folder, **options).train()
    with pytest.raises(toy_run.Killed):
        run_of(broken, folder, **options, hooks=[pictures, toy_run.KillAt(step=3)]).train()
    run_of(broken, folder, **options, hooks=[pictures], resume=True).train()
    toy_run.assert_same(*(toy_run.read(f / "iter_6.pth") for f in (whole, broken)))
    shown = np.asarray(Image.open(broken / "reconstructions" / "iter_6.png"))
    assert shown.shape == (2 * 64 + 4, 10 * 64 + 9 * 4, 3)  # five pictures of each modality
    first = np.asarray(Image.open(broken / "reconstructions" / "iter_0.png"))
    assert np.array_equal(first[:, :132], shown[:, :132]) and not np.array_equal(first[:, 136:200], shown[:, 136:200])
    hidden = first[:, 204:268].astype(int) - 128  # of each image something
    assert abs(hidden[:64]).max() > 2 and abs(hidden[68:]).max() > 2


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler")
def test_the_published_file_in_the_backbone_of_a_segmentor(folder, tmp_path):
    trained = run_of(tmp_path, folder)
    trained.train()
    file = str(tmp_path / "pretrained.safetensors")
    state, metadata = read_weights(file)[0], json.loads(read_metadata(file)["modalities"])
    assert [spec.to_dict() for spec in specs_in(state)] == metadata
    assert [spec.name for spec in specs_in(state)] == ["optical", "sar"]
    init_cfg = {"type": "Pretrained", "checkpoint": file, "prefix": "backbone."}
    net = MODELS.build({**BACKBONE, "init_cfg": init_cfg}).eval()
    net.init_weights()
    images = {"optical": 255 * torch.rand(1, 3, 64, 96), "sar": torch.randn(1, 2, 64, 96) - 12}
    theirs = trained.model.eval().backbone(images)
    assert all(torch.equal(a, b) for a, b in zip(net(images)[2:], theirs, strict=True))

    read_safely()
    whole = torch.nn.ModuleDict({"backbone": MODELS.build(BACKBONE)}).eval()  # as load_from does
    load_checkpoint(whole, file, map_location="cpu")
    assert all(torch.equal(a, b) for a, b in zip(whole["backbone"](images)[2:], theirs, strict=True))

    other = [MODALITIES[0], {**MODALITIES[1], "mean": [-9.0, -15.0]}]
    with pytest.raises(Exception, match=r"modality 'sar' has in the file and in the model mean"):
        MODELS.build({**BACKBONE, "modalities": other, "init_cfg": init_cfg}).init_weights()
