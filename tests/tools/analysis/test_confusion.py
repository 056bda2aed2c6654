"""Confusion matrices by hand, and mmseg's metrics."""

import numpy as np
import pytest
import torch
from analysis import confusion as tool
from analysis.matching import read_scenes
from coco_data import annotation, detection, write_coco
from PIL import Image


@pytest.fixture
def pairs():
    """Six images of unequal size; of class 4 there is nothing in the truth, of class 5 nothing at all."""
    random = np.random.default_rng(0)
    found = []
    for i in range(6):
        truth = random.choice([0, 1, 2, 3, 255], p=[0.4, 0.3, 0.15, 0.05, 0.1], size=(20 + i, 30))
        wrong = random.random(truth.shape) < 0.3
        found.append((np.where(wrong | (truth == 255), random.integers(0, 5, truth.shape), truth), truth))
    return found


def test_the_metrics_are_those_of_mmseg(pairs):
    from mmseg.evaluation import IoUMetric

    metric = IoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = {"classes": list("abcdef")}
    samples = [
        {"pred_sem_seg": {"data": torch.tensor(p)[None]}, "gt_sem_seg": {"data": torch.tensor(t)[None]}}
        for p, t in pairs
    ]
    metric.process({}, samples)
    areas = [sum(areas) for areas in zip(*metric.results, strict=True)]
    expected = metric.total_area_to_metrics(*areas, ["mIoU"])
    found = tool.segmentation_metrics(pairs, 6, classes="abcdef")
    assert found["aAcc"] == pytest.approx(100 * float(expected["aAcc"]), abs=1e-4)
    assert found["mIoU"] == pytest.approx(100 * float(np.nanmean(expected["IoU"])), abs=1e-4)
    assert found["mAcc"] == pytest.approx(100 * float(np.nanmean(expected["Acc"])), abs=1e-4)
    np.testing.assert_allclose(list(found["IoU"].values()), 100 * np.asarray(expected["IoU"]), atol=1e-4)
    assert list(found["IoU"]) == list("abcdef") and found["IoU"]["e"] == 0 and np.isnan(found["IoU"]["f"])


def test_known_pixels():
    prediction, truth = np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 255]])
    confusion = tool.pixel_confusion(prediction, truth, 2)
    assert confusion.tolist() == [[1, 0], [1, 1]]
    found = tool.metrics_of(confusion)
    assert found["IoU"] == {"0": 50, "1": 50} and found["aAcc"] == pytest.approx(200 / 3) and found["mAcc"] == 75


def test_images_add_up(pairs):
    each = tool.image_confusions(pairs, 6)
    together = tool.pixel_confusion(*(np.concatenate([pair[i] for pair in pairs]) for i in (0, 1)), 6)
    assert each.shape == (6, 6, 6) and (each.sum(0) == together).all()
    assert tool.iou_per_class(each).shape == (6, 6)  # of single images, for galleries


def test_nothing_counts():
    found = tool.segmentation_metrics([(np.zeros((2, 2), int), np.full((2, 2), 255))], 2)
    assert all(np.isnan(found[name]) for name in ("mIoU", "mAcc", "aAcc"))


def test_bad_labels():
    with pytest.raises(ValueError, match=r"truth must hold labels 0\.\.1 or 255 \(ignored\), it holds 0\.\.2"):
        tool.pixel_confusion(np.zeros((1, 2), int), np.array([[0, 2]]), 2)
    with pytest.raises(ValueError, match=r"prediction must hold labels 0\.\.1, it holds 0\.\.3"):
        tool.pixel_confusion(np.array([[0, 3]]), np.zeros((1, 2), int), 2)
    with pytest.raises(ValueError, match=r"one shape, got \(1, 2\) and \(2, 2\)"):
        tool.pixel_confusion(np.zeros((1, 2)), np.zeros((2, 2)), 2)
    with pytest.raises(ValueError, match="no pairs"):
        tool.segmentation_metrics([], 2)
    with pytest.raises(ValueError, match="classes must be 2 names, got 3"):
        tool.metrics_of(np.eye(2), "abc")


def test_folders(tmp_path):
    labels = {"a/x.png": 1, "b/x.png": 0}
    for name, label in labels.items():
        for folder, suffix in (("found", ".png"), ("truth", "_ids.png")):
            path = tmp_path / folder / name.replace(".png", suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((3, 4), label, np.uint8)).save(path)
    pairs = list(tool.label_pairs(tmp_path / "found", tmp_path / "truth", "_ids.png"))
    assert [(p.max(), t.max(), p.shape) for p, t in pairs] == [(1, 1, (3, 4)), (0, 0, (3, 4))]
    with pytest.raises(FileNotFoundError, match=r"prediction a/x\.png has no truth"):
        list(tool.label_pairs(tmp_path / "found", tmp_path / "truth"))
    with pytest.raises(FileNotFoundError, match="no predictions"):
        list(tool.label_pairs(tmp_path / "truth" / "c", tmp_path / "truth"))
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "colours.png")
    with pytest.raises(ValueError, match="one class index per pixel, it has mode RGB"):
        tool.read_labels(tmp_path / "colours.png")


def test_detections(tmp_path):
    box, other, third, crowd = (0, 0, 40, 40), (60, 0, 40, 40), (0, 60, 40, 40), (60, 60, 90, 90)
    truth = [annotation(1, 10, box), annotation(1, 20, other), annotation(1, 20, third), annotation(1, 10, crowd, 1)]
    guesses = [
        detection(1, 20, (2, 0, 40, 40), 0.9),  # further from the cat than the next
        detection(1, 10, box, 0.5),
        detection(1, 10, other, 0.4),  # a dog taken for a cat
        detection(1, 20, third, 0.2),  # below the score
        detection(1, 30, (80, 80, 20, 20), 0.8),  # in a crowd
    ]
    classes, scenes = read_scenes(*write_coco(tmp_path, truth, guesses))
    confusion = tool.detection_confusion(scenes, len(classes))
    #                          cat dog owl  -
    assert confusion.tolist() == [[1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
