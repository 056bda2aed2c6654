"""MapLabels: values become labels, and what is ignored counts neither in losses nor in metrics."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import METRICS, MODELS, init_default_scope

from backbones.openmmlab import MapLabels

CAMVID = Path(__file__).resolve().parents[3] / "configs/camvid/upernet_vheat-n.py"
VOID = 11


def test_values_become_the_numbers_of_the_classes():
    labels = np.array([[9, 0, 4], [255, 9, 4]], np.uint8)
    mapped = MapLabels(values=[4, 9], ignored=[0])({"gt_seg_map": labels, "other": 1})
    assert mapped["gt_seg_map"].tolist() == [[1, 255, 0], [255, 1, 0]] and mapped["gt_seg_map"].dtype == np.uint8
    assert mapped["other"] == 1 and labels[0, 0] == 9
    assert MapLabels(values=[4])({"img": 0}) == {"img": 0}
    assert MapLabels(values=[255, 3])({"gt_seg_map": labels[1:, :1]})["gt_seg_map"].tolist() == [[0]]


def test_other_values_are_errors_that_name_the_file():
    with pytest.raises(ValueError, match=r"maps/a.png has values that are neither a class nor ignored: 0, 9"):
        MapLabels(values=[4])({"gt_seg_map": np.array([[9, 0, 4]], np.uint8), "seg_map_path": "maps/a.png"})


@pytest.mark.parametrize("values", [[], [1, 1], [256], [-1], ["1"]])
def test_values_are_different_numbers_of_a_byte(values):
    with pytest.raises(ValueError, match="different integers of 0 to 255"):
        MapLabels(values=values)
    with pytest.raises(ValueError, match="different integers of 0 to 255"):
        MapLabels(values=[0, 1], ignored=[1])


@pytest.fixture
def camvid(tmp_path):
    """The config, and a sample of its test pipeline whose lower half is void."""
    config = Config.fromfile(CAMVID)
    init_default_scope(config.default_scope)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 11, (60, 80)).astype(np.uint8)
    labels[30:] = VOID
    cv2.imwrite(str(tmp_path / "a.png"), labels)
    cv2.imwrite(str(tmp_path / "image.png"), rng.integers(0, 255, (60, 80, 3)).astype(np.uint8))
    info = {"img_path": str(tmp_path / "image.png"), "seg_map_path": str(tmp_path / "a.png")}
    sample = Compose(config.test_pipeline)({**info, "label_map": None, "reduce_zero_label": False, "seg_fields": []})
    return config, sample["data_samples"]


def test_camvids_void_counts_in_no_metric(camvid):
    config, sample = camvid
    truth = sample.gt_sem_seg.data
    assert truth.shape == (1, 60, 80) and (truth[:, 30:] == 255).all() and int(truth[:, :30].max()) == 10

    def figures(below):
        predicted = truth.clone()
        predicted[:, :10] = 0
        predicted[:, 30:] = below
        metric = METRICS.build(config.test_evaluator)
        metric.dataset_meta = config.metainfo
        metric.process({}, [{"pred_sem_seg": {"data": predicted}, "gt_sem_seg": {"data": truth}}])
        return metric.compute_metrics(metric.results)

    assert figures(0) == figures(7) and 50 < figures(0)["mIoU"] < 100


def test_camvids_void_counts_in_no_loss(camvid):
    config, sample = camvid
    truth = sample.gt_sem_seg.data.long()
    for head in (config.model.decode_head, config.model.auxiliary_head):
        logits = torch.randn(1, 11, 60, 80, generator=torch.Generator().manual_seed(0))
        loss = MODELS.build(head).loss_by_feat(logits, [sample])["loss_ce"]
        expected = torch.nn.functional.cross_entropy(logits[:, :, :30], truth[:, :30])  # of the upper half alone
        torch.testing.assert_close(loss, head.loss_decode.loss_weight * expected)
