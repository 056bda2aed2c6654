"""Metrics of label maps, against a count by hand and mmseg's own."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import METRICS, init_default_scope

from backbones.openmmlab import ChangeMetric, GroupedIoU


def samples(count, classes, paths=("x",)):
    generator = torch.Generator().manual_seed(0)
    for i in range(count):
        found, truth = torch.randint(0, classes, (2, 1, 6, 7), generator=generator)
        truth[0, 0] = 255
        path = f"/data/{paths[i % len(paths)]}/{i}.tif"
        yield {"pred_sem_seg": {"data": found}, "gt_sem_seg": {"data": truth}, "img_path": path}


def measured(metric, given, classes):
    metric.dataset_meta = {"classes": classes}
    for each in given:
        metric.process({}, [each])
    return metric.evaluate(len(given))


def test_change_by_hand():
    truth = torch.tensor([[1, 1, 1, 0, 0, 0, 255]])
    found = torch.tensor([[1, 0, 0, 1, 0, 0, 1]])
    given = [{"pred_sem_seg": {"data": found}, "gt_sem_seg": {"data": truth}}]
    expected = {"F1": 40.0, "precision": 50.0, "recall": 100 / 3, "IoU": 25.0}  # one hit, two missed, one invented
    assert measured(ChangeMetric(), given, ("same", "changed")) == pytest.approx(
        {f"change/{k}": v for k, v in expected.items()}
    )
    expected = {"F1": 100 * 4 / 7, "precision": 50.0, "recall": 200 / 3, "IoU": 40.0}
    assert measured(ChangeMetric(changed=0, prefix="p"), given, ("same", "changed")) == pytest.approx(
        {f"p/{k}": v for k, v in expected.items()}
    )


def test_pairs_without_change_are_no_division_by_zero():
    nothing = torch.zeros(1, 4, 4)
    given = [{"pred_sem_seg": {"data": nothing}, "gt_sem_seg": {"data": nothing}}]
    assert set(measured(ChangeMetric(), given, ("same", "changed")).values()) == {0.0}


@pytest.mark.filterwarnings("ignore:The prefix is not set")
def test_groups_are_what_mmseg_measures_of_each(capsys):
    classes, groups = ("a", "b", "c", "d"), {"clear": "optical_clear", "cloudy": "optical_cloudy"}
    given = list(samples(6, 3, tuple(groups.values())))  # no pixel is of class d
    found = measured(GroupedIoU(groups), given, classes)
    init_default_scope("mmseg")
    for i, name in enumerate(groups):
        theirs = measured(METRICS.build({"type": "mmseg.IoUMetric", "iou_metrics": ["mIoU"]}), given[i::2], classes)
        for key in ("mIoU", "mAcc", "aAcc"):
            assert found[f"{name}/{key}"] == pytest.approx(theirs[key], abs=0.006)  # mmseg rounds
    assert found["clear/mIoU"] != found["cloudy/mIoU"] and "clear/IoU d" in found


def test_an_image_of_no_group():
    with pytest.raises(ValueError, match=r"/data/x/0\.tif must be in one of the folders \['y'\]"):
        measured(GroupedIoU({"a": "y"}), list(samples(1, 2)), ("a", "b"))
