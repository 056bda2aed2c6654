"""mPC and rPC, and configs that test under other conditions."""

import numpy as np
import pytest
import torch
from analysis import variants
from analysis.robustness import NAMES, robustness
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from training.runs import CONFIGS


def test_means():
    values = {name: [50.0 - 2 * i - s for s in range(1, 6)] for i, name in enumerate(NAMES)}
    found = robustness(60.0, dict(reversed(values.items())))
    assert found.complete and found.mpc == pytest.approx(50 - 14 - 3) and found.rpc == pytest.approx(100 * 33 / 60)
    assert found.by_severity == pytest.approx([35, 34, 33, 32, 31])
    assert list(found.by_corruption) == list(NAMES) and found.by_corruption["fog"] == pytest.approx(50 - 18 - 3)
    assert found.by_group["noise"] == pytest.approx(50 - 2 - 3)


def test_part_of_them():
    found = robustness(0.0, {"fog": [1.0]})
    assert not found.complete and found.mpc == 1 and np.isnan(found.rpc) and found.by_group == {"weather": 1.0}


@pytest.mark.parametrize(
    ("corrupted", "message"),
    [
        ({"rain": [1.0]}, "corruptions must be of gaussian_noise, .*, got 'rain'"),
        ({"fog": [1.0], "snow": [1.0, 2.0]}, r"got numbers \[1, 2\]"),
        ({"fog": [1.0] * 6}, r"got numbers \[6\]"),
        ({}, r"got numbers \[\]"),
    ],
)
def test_bad_values(corrupted, message):
    with pytest.raises(ValueError, match=message):
        robustness(50.0, corrupted)


@pytest.fixture(params=CONFIGS)
def config(request, digit_scenes):
    config = Config.fromfile(CONFIGS[request.param])
    config.test_dataloader.dataset.data_root = f"{digit_scenes}/"
    for step in config.test_dataloader.dataset.pipeline:
        if step.type == "Resize":
            step.scale = (64, 64)
    return config


def images_of(config):
    init_default_scope(config.default_scope)
    dataset = DATASETS.build(config.test_dataloader.dataset)
    return dataset[0]["inputs"], dataset[0]["data_samples"]


@pytest.mark.parametrize("factor", [0.5, 2])
def test_scale(config, factor):
    before, truth = images_of(config)
    variants.at_scale(config, factor)
    after, same = images_of(config)
    assert before.shape == (3, 64, 64) and after.shape == (3, 64 * factor, 64 * factor)
    if "gt_sem_seg" in truth:
        assert torch.equal(truth.gt_sem_seg.data, same.gt_sem_seg.data)
    else:
        assert torch.equal(truth.gt_instances.bboxes.tensor, same.gt_instances.bboxes.tensor)


def test_corruption(config):
    config.custom_imports = None
    before, _ = images_of(config)
    variants.corrupt(config, "contrast", 5)
    after, _ = images_of(config)
    before, after = (images.float().std((1, 2)) for images in (before, after))  # of each channel
    assert (after < 0.2 * before).all()
    assert config.custom_imports["imports"] == ["backbones.openmmlab"]
    variants.at_scale(config, 0.5)  # both
    assert images_of(config)[0].shape == (3, 32, 32)


@pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``:UserWarning")
@torch.no_grad()
def test_predictions_are_of_the_files_size(digit_scenes):
    config = Config.fromfile(CONFIGS["segmentation"])
    config.test_dataloader.dataset.data_root = f"{digit_scenes}/"
    variants.at_scale(config, 0.75)
    init_default_scope(config.default_scope)
    dataset = DATASETS.build(config.test_dataloader.dataset)
    (sample,) = MODELS.build(config.model).eval().test_step(pseudo_collate([dataset[0]]))
    assert sample.pred_sem_seg.data.shape == sample.gt_sem_seg.data.shape == (1, 64, 64)


def pipeline(*steps):
    return Config({"test_dataloader": {"dataset": {"type": "Repeat", "dataset": {"pipeline": list(steps)}}}})


LOAD = {"type": "LoadImageFromFile"}


def test_sizes_are_multiplied():
    for given, expected in (
        ({"scale": (101, 60)}, {"scale": (50, 30)}),
        ({"scale": 3}, {"scale": 2}),
        ({"scale_factor": 0.5}, {"scale_factor": 0.25}),
        ({"scale_factor": (1.0, 0.5)}, {"scale_factor": (0.5, 0.25)}),
    ):
        config = pipeline(LOAD, {"type": "mmdet.Resize", **given})
        variants.at_scale(config, 0.5)
        assert config.test_dataloader.dataset.dataset.pipeline[1] == {"type": "mmdet.Resize", **expected}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"type": "PackSegInputs"}], r"must have LoadImageFromFile, it has \['PackSegInputs'\]"),
        ([LOAD, {"type": "Resize", "scale": 2}, {"type": "Resize", "scale": 2}], r"this has \['Resize', 'Resize'\]"),
        ([LOAD, {"type": "RandomResize", "scale": 2}], r"this has \['RandomResize'\]"),
        ([LOAD, {"type": "Resize"}], "with one Resize of a scale"),
    ],
)
def test_pipelines_that_do_not_fit(steps, message):
    with pytest.raises(ValueError, match=message):
        variants.at_scale(pipeline(*steps), 2)


def test_bad_conditions():
    with pytest.raises(ValueError, match="factor must be positive, got 0"):
        variants.at_scale(pipeline(LOAD), 0)
    with pytest.raises(ValueError, match="severity must be"):
        variants.corrupt(pipeline(LOAD), "fog", 6)
    with pytest.raises(ValueError, match="to_float32=True"):
        variants.corrupt(pipeline({**LOAD, "to_float32": True}), "fog", 1)
    with pytest.raises(ValueError, match="must have a test_dataloader"):
        variants.corrupt(Config({}), "fog", 1)
