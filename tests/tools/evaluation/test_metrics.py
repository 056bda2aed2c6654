"""Stored predictions are measured as the frameworks measure them."""

import cv2
import numpy as np
import pytest
import torch
from evaluation.metrics import measure, segmentation_pairs
from evaluation.tasks import ReadyTask
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from small_tasks import NANO, task_of


@pytest.fixture
def make(write, tmp_path):
    """A task on three label maps with and without a reduced zero label, and with classes in another order."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("x", "y", "z"):
            for folder, shape, high in ((split, (8, 9, 3), 255), (f"{split}_labels", (8, 9), 5)):
                (tmp_path / folder).mkdir(exist_ok=True)
                cv2.imwrite(str(tmp_path / folder / f"{name}.png"), rng.integers(0, high, shape, np.uint8))

    def make(reduce_zero_label):
        task = task_of("segmentation", tmp_path)
        for split in ("train", "val", "test"):
            settings = {"metainfo.classes": list("abcd"), "metainfo.palette": [[i] * 3 for i in range(4)]}
            if not reduce_zero_label:
                settings = {"metainfo.classes": list("abcde"), "metainfo.palette": [[i] * 3 for i in range(5)]}
            settings["reduce_zero_label"] = reduce_zero_label
            task["cfg_options"] |= {f"{split}_dataloader.dataset.{key}": v for key, v in settings.items()}
        study = write(tasks={"t": task}, entries={"a": {"backbone": NANO}}, protocols=["scratch"])
        return ReadyTask(study.tasks["t"], tmp_path)

    return make


@pytest.mark.filterwarnings("ignore:`reduce_zero_label` will be deprecated:UserWarning")
@pytest.mark.parametrize("reduced", [False, True])
def test_segmentation_is_what_mmsegs_metric_says(reduced, make, tmp_path):
    """Its metric writes the pictures, and counts; ours reads the pictures."""
    ready = make(reduced)
    metric = IoUMetric(iou_metrics=["mIoU"], output_dir=str(tmp_path / "labels"))
    metric.dataset_meta = ready.tested.metainfo
    for i in range(len(ready.tested)):
        sample, drawn = ready.tested[i]["data_samples"], torch.Generator().manual_seed(i)
        guess = torch.randint(len(ready.classes), sample.gt_sem_seg.data.shape, generator=drawn)
        sample.pred_sem_seg = PixelData(data=guess)
        metric.process({}, [sample.to_dict()])
    theirs = metric.compute_metrics(metric.results)
    settings = ready.settings("test")
    ours = measure(ready, settings, tmp_path)
    assert {n: round(ours[n], 2) for n in ("mIoU", "mAcc", "aAcc")} == pytest.approx(dict(theirs), abs=0.006)
    assert set(ours["classes"]["IoU"]) == set(ready.classes)
    ignored = np.concatenate([truth.ravel() for _, truth in segmentation_pairs(ready, settings, tmp_path)]) == 255
    assert ignored.any() == reduced

    (tmp_path / "labels" / "y.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"prediction is missing: .*labels/y\.png"):
        measure(ready, settings, tmp_path)
