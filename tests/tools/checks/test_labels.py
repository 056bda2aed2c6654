"""Label maps: what is missing, of another size, or neither a class nor ignored, as the config's pipeline loads them."""

import cv2
import numpy as np
import pytest


def maps(segmentation, content, name="train_labels/0.png"):
    cv2.imwrite(str(segmentation.folder / name), content)


def kinds(report):
    return {(f.kind, f.split): f for f in report.findings}


def test_what_is_sound_has_no_finding(segmentation):
    report = segmentation.check()
    assert report.findings == [] and report.images == {"train": 2, "val": 2, "test": 2}
    assert report.examples["train"] == {"cat": 2 * 24 * 8, "dog": 2 * 24 * 16}


@pytest.mark.parametrize(
    ("kind", "content", "example"),
    [
        ("label-outside", np.full((24, 32), 2, np.uint8), "train_labels/0.png (2)"),
        ("label-empty", np.full((24, 32), 255, np.uint8), "train_labels/0.png"),
        ("label-no-indices", np.zeros((24, 32, 3), np.uint8), "train_labels/0.png (RGB)"),
        ("label-no-indices", np.full((24, 32), 256, np.uint16), "train_labels/0.png (I;16"),
        ("size-differs", np.eye(20, 32, dtype=np.uint8), "train_labels/0.png: 32 x 20, its image 32 x 24"),
    ],
)
def test_a_broken_map_is_named(segmentation, kind, content, example):
    maps(segmentation, content)
    (finding,) = segmentation.check().findings
    assert (finding.kind, finding.split, finding.count) == (kind, "train", 1) and example in finding.examples[0]


def test_missing_and_unreadable_maps_and_maps_without_an_image(segmentation):
    (segmentation.folder / "train_labels/0.png").unlink()
    (segmentation.folder / "val_labels/1.png").write_text("not an image")
    (segmentation.folder / "test/0.png").unlink()
    found = kinds(segmentation.check())
    assert set(found) == {("label-missing", "train"), ("label-unreadable", "val"), ("label-without-image", "test")}
    assert found["label-without-image", "test"].examples[0].endswith("test_labels/0.png")


def test_a_class_without_a_pixel(segmentation):
    for i in (0, 1):
        maps(segmentation, np.zeros((24, 32), np.uint8), f"val_labels/{i}.png")
    found = kinds(segmentation.check())
    assert set(found) == {("class-empty", "val")} and found["class-empty", "val"].examples == ("dog",)


def test_missing_folders_and_lists(segmentation):
    segmentation.config["train_dataloader"]["dataset"]["data_prefix"]["seg_map_path"] = "labels"
    segmentation.config["val_dataloader"]["dataset"]["ann_file"] = "val.txt"
    found = kinds(segmentation.check())
    for split, name in (("train", "labels"), ("val", "val.txt")):
        assert found["place-missing", split].examples == (str(segmentation.folder / name),)


def test_a_list_of_names(segmentation):
    segmentation.config["val_dataloader"]["dataset"]["ann_file"] = "val.txt"
    (segmentation.folder / "val.txt").write_text("1\n2\n")
    found = kinds(segmentation.check())
    assert set(found) == {("image-missing", "val"), ("label-missing", "val")}
    assert found["image-missing", "val"].examples[0].endswith("val/2.png")


def test_the_configs_zero_is_the_checks_zero(segmentation):
    """With reduce_zero_label 0 is ignored and 1 is the first class, so that nothing is of the second."""
    segmentation.config["train_dataloader"]["dataset"]["reduce_zero_label"] = True
    report = segmentation.check("train")
    assert [(f.kind, f.examples) for f in report.findings] == [("class-empty", ("dog",))]
    assert report.examples["train"] == {"cat": 2 * 24 * 16, "dog": 0}


def test_map_labels_in_the_pipeline_is_applied(segmentation):
    import backbones.openmmlab  # noqa: F401  registers it

    maps(segmentation, np.tile(np.array([7, 9, 3, 7], np.uint8), (24, 8)))
    maps(segmentation, np.full((24, 32), 5, np.uint8), "train_labels/1.png")
    step = {"type": "MapLabels", "values": [7, 9], "ignored": [3]}
    segmentation.config["train_dataloader"]["dataset"]["pipeline"].append(step)
    report = segmentation.check("train")
    assert report.examples["train"] == {"cat": 24 * 16, "dog": 24 * 8}
    (finding,) = report.findings
    assert finding.kind == "label-outside" and finding.examples[0].endswith("1.png (5)")
