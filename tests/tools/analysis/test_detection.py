"""COCO's numbers: those of pycocotools, and worked out by hand."""

import json

import numpy as np
import pytest
from analysis import detection as tool
from coco_data import annotation, detection, write_coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(3))
def test_the_twelve_numbers_are_those_of_pycocotools(kind, seed, random_files, capsys):
    annotations, results = random_files[seed]
    truth = COCO(str(annotations))
    records = json.loads(results.read_text())
    for record in records:
        record.pop("bbox" if kind == "segm" else "segmentation")  # or masks have the area of their boxes
    reference = COCOeval(truth, truth.loadRes(records), kind)
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    found = tool.coco_metrics(annotations, results, kind)
    assert tuple(found) == NAMES
    expected = np.where(reference.stats < 0, np.nan, 100 * reference.stats)
    np.testing.assert_allclose(list(found.values()), expected, rtol=0, atol=1e-9)
    assert 10 < found["AP50"] < 90
    # of each class, too
    ap = reference.eval["precision"][:, :, :, 0, -1]
    per_class = tool.evaluate(annotations, results, kind).per_class()
    np.testing.assert_allclose([row["AP"] for row in per_class.values()], 100 * ap.mean((0, 1)), atol=1e-9)
    np.testing.assert_allclose([row["AP50"] for row in per_class.values()], 100 * ap[0].mean(0), atol=1e-9)


def test_known_answer(tmp_path):
    """Two cats, one found exactly at the higher score, one dog not found; of owls there is no truth."""
    truth = [annotation(1, 10, (10, 10, 40, 40)), annotation(1, 10, (80, 80, 40, 40)), annotation(1, 20, (9, 90, 9, 9))]
    guesses = [detection(1, 10, (10, 10, 40, 40), 0.9), detection(1, 10, (60, 10, 20, 20), 0.5)]
    files = write_coco(tmp_path, truth, guesses)
    found = tool.evaluate(*files)
    cat = 100 * 51 / 101  # precision 1 at recall 0, 0.01, ..., 0.5
    assert found.per_class()["cat"]["AP"] == pytest.approx(cat)
    assert found.per_class()["dog"]["AP"] == 0 and np.isnan(found.per_class()["owl"]["AP"])
    assert found.metrics()["AP"] == found.metrics()["AP75"] == pytest.approx(cat / 2)
    assert found.metrics()["APs"] == 0 and np.isnan(found.metrics()["APl"])
    assert found.metrics()["AR1"] == pytest.approx(25)
    curves = found.curves()
    assert list(curves) == ["cat", "dog"] and (curves["cat"] == np.where(np.arange(101) <= 50, 100, 0)).all()


def test_only_classes_that_are_named_count(tmp_path):
    """As in mmdet, where a config leaves categories of the file out."""
    truth = [annotation(1, 10, (10, 10, 40, 40)), annotation(1, 30, (80, 80, 40, 40))]
    files = write_coco(tmp_path, truth, [detection(1, 10, (10, 10, 40, 40), 0.9)])
    assert tool.evaluate(*files).metrics()["AP"] == 50
    found = tool.evaluate(*files, classes=("dog", "cat"))
    assert found.classes == ("cat", "dog") and found.metrics()["AP"] == 100
    with pytest.raises(ValueError, match=r"truth\.json has no category 'cow'"):
        tool.evaluate(*files, classes=("cat", "cow"))


def test_no_detections_are_zero(tmp_path):
    files = write_coco(tmp_path, [annotation(1, 10, (10, 10, 40, 40))], [])
    for kind in ("bbox", "segm"):
        found = tool.coco_metrics(*files, kind)
        assert found["AP"] == found["AR100"] == found["APm"] == 0 and np.isnan(found["APs"])


def test_numbers_of_detections(tmp_path):
    box = (10, 10, 40, 40)
    guesses = [detection(1, 10, (90, 90, 30, 30), 0.9), detection(1, 10, box, 0.5)]
    files = write_coco(tmp_path, [annotation(1, 10, box)], guesses)
    found = tool.coco_metrics(*files, max_dets=(1, 2))
    assert {"AR1", "AR2"} < set(found) and found["AR1"] == 0 and found["AR2"] == 100 and found["AP"] == 50
    assert tool.coco_metrics(*files, max_dets=(1,))["AP"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 7}, "a detection has image_id 7, which the annotations lack"),
        ({"category_id": 11}, "a detection has category_id 11, which the annotations lack"),
        ({"score": None}, "a detection lacks 'score'"),
    ],
)
def test_results_of_other_data(changes, message, tmp_path):
    record = {**detection(1, 10, (0, 0, 9, 9), 0.5), **changes}
    record = {name: value for name, value in record.items() if value is not None}
    files = write_coco(tmp_path, [annotation(1, 10, (0, 0, 9, 9))], [record])
    with pytest.raises(ValueError, match=message):
        tool.coco_metrics(*files)


def test_bad_arguments(tmp_path):
    files = write_coco(tmp_path, [annotation(1, 10, (0, 0, 9, 9))], [])
    with pytest.raises(ValueError, match=r"kind must be one of \('bbox', 'segm'\), got 'mask'"):
        tool.coco_metrics(*files, "mask")
    with pytest.raises(ValueError, match=r"max_dets must be ascending positive ints, got \(10, 1\)"):
        tool.coco_metrics(*files, max_dets=(10, 1))
    with pytest.raises(ValueError, match=r"iou must be one of 0\.50, 0\.55, \.\.\., 0\.95, got 0\.52"):
        tool.evaluate(*files).curves(0.52)
    files[1].write_text("{}")
    with pytest.raises(ValueError, match="must hold a list of detections, got a dict"):
        tool.coco_metrics(*files)
    twice = write_coco(tmp_path / "twice", [], [], classes=("cat", "cat"))
    with pytest.raises(ValueError, match="more than one category is called 'cat'"):
        tool.coco_metrics(*twice)
