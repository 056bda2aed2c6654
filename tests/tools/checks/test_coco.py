"""Annotation files of COCO, broken in every way that has a name."""

import json

import pytest
from pycocotools import mask as coco_mask


def of_first(**changes):
    """A change of the first annotation, of the cat."""
    return lambda record: record["annotations"][0].update(changes)


def add_emu(record):
    record["categories"].append({"id": 1, "name": "emu"})
    record["annotations"][0]["category_id"] = 1


def runs(left, top, width, height):
    import numpy as np

    mask = np.zeros((24, 32), np.uint8, order="F")
    mask[top : top + height, left : left + width] = 1
    encoded = coco_mask.encode(mask)
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def test_what_is_sound_has_no_finding(detection):
    report = detection.check()
    assert report.findings == [] and not report.broken and report.not_checked == []
    assert report.images == {"train": 2, "val": 2, "test": 2}
    assert report.examples["val"] == {"cat": 2, "dog": 2}


BROKEN = {
    "id-repeated": [
        (lambda r: r["images"][1].update(id=3), "images: id 3, 2 times"),
        (lambda r: r["annotations"][1].update(id=5), "annotations: id 5, 2 times"),
        (lambda r: r["categories"][0].update(id=9), "categories: id 9, 2 times"),
    ],
    "image-unknown": [(of_first(image_id=4), "annotation 5, image 4")],
    "category-unknown": [(of_first(category_id=6), "annotation 5 of 0.png, category 6")],
    "class-missing": [(lambda r: r["categories"][0].update(name="Cat"), "cat is not among Cat, dog")],
    "class-order": [(lambda r: r["categories"].reverse(), "dog, cat in the file, cat, dog in the config")],
    "category-unused": [(add_emu, "emu")],
    "class-empty": [(lambda r: [a.update(category_id=9) for a in r["annotations"]], "cat")],
    "box-empty": [
        (of_first(bbox=[4, 6, 0, 10]), "annotation 5 of 0.png: [4, 6, 0, 10]"),
        (of_first(bbox=[4, 6, 8, 0.5]), "[4, 6, 8, 0.5]"),
    ],
    "box-inverted": [(of_first(bbox=[12, 6, -8, 10]), "[12, 6, -8, 10]")],
    "box-outside": [
        (of_first(bbox=[32, 6, 8, 10]), "[32, 6, 8, 10] in 32 x 24"),
        (of_first(bbox=[4, -10, 8, 10]), "[4, -10, 8, 10]"),
    ],
    "box-over-edge": [(of_first(bbox=[26, 6, 8, 10]), "[26, 6, 8, 10] in 32 x 24")],
    "mask-disagrees": [
        (of_first(bbox=[4, 6, 11, 10]), "up to 3 px beside [4, 6, 11, 10]"),
        (of_first(segmentation=runs(4, 2, 8, 10)), "up to 4 px beside [4, 6, 8, 10]"),
    ],
    "mask-broken": [
        (of_first(segmentation=[[1, 2, 3, 4]]), "at least six coordinates"),
        (of_first(segmentation=[[4, 6, 12, 6, "12", 16]]), "a coordinate that is no number"),
        (of_first(segmentation="here"), "neither polygons nor run lengths but str"),
        (of_first(segmentation={"size": [32, 24], "counts": [768]}), "size [32, 24], the image has [24, 32]"),
        (of_first(segmentation={"size": [24, 32], "counts": [5, 6]}), "not those of all pixels"),
        (of_first(segmentation={"size": [24, 32], "counts": [768]}), "has no pixel"),
    ],
    "entry-incomplete": [
        (lambda r: r["annotations"][0].pop("bbox"), "annotations[0]: bbox"),
        (of_first(bbox=[1, 2, 3]), "bbox [1, 2, 3]"),
        (of_first(bbox=[1, 2, 3, None]), "bbox [1, 2, 3, None]"),
        (lambda r: r["images"][0].pop("width"), "images[0]: width"),
        (lambda r: r["images"][0].update(height=float("nan")), "images[0]: height"),
        (lambda r: r["categories"].append("cat"), "categories[2]: id, name"),
    ],
    "size-differs": [(lambda r: r["images"][0].update(width=40), "0.png: 40 x 24 annotated, 32 x 24 loaded")],
    "annotations-broken": [(lambda r: r.pop("categories"), "train.json has no list of categories")],
}  # fmt: skip
CASES = [(kind, *case) for kind, cases in BROKEN.items() for case in cases]


@pytest.mark.parametrize(
    ("kind", "change", "example"), CASES, ids=[f"{kind}-{i}" for i, (kind, *_) in enumerate(CASES)]
)
def test_a_broken_file_is_named(detection, kind, change, example):
    detection.edit("train", change)
    found = {(f.kind, f.split): f for f in detection.check().findings}
    finding = found[kind, "train"]
    assert any(example in shown for shown in finding.examples), finding
    assert finding.count >= 1 and {split for _, split in found} == {"train"}


def test_masks_of_run_lengths_that_agree(detection):
    detection.edit("train", of_first(segmentation=runs(4, 6, 8, 10)))
    counts = [4 * 24 + 6]  # column by column: background, then 10 of each column of 24
    counts += [10, 14] * 7 + [10, 24 * 20 + 8]
    detection.edit("val", of_first(segmentation={"size": [24, 32], "counts": counts}))
    assert detection.check().findings == []


def test_each_is_counted_and_three_are_shown(detection):
    def many(record):
        first = record["annotations"][0]
        record["annotations"] = [{**first, "id": i, "bbox": [4, 6, 0, 1]} for i in range(5)]

    detection.edit("val", many)
    finding = next(f for f in detection.check("val").findings if f.kind == "box-empty")
    assert (finding.count, len(finding.examples), finding.error) == (5, 3, True)


def test_no_json_and_no_file(detection):
    (detection.folder / "train.json").write_text("{")
    (detection.folder / "val.json").unlink()
    detection.config["test_dataloader"]["dataset"]["data_prefix"]["img"] = "tset"
    report = detection.check()
    found = {f.split: (f.kind, f.examples[0]) for f in report.findings if f.kind != "images-none"}
    assert found["train"][0] == "annotations-broken" and "train.json: Expecting" in found["train"][1]
    assert found["val"] == ("place-missing", str(detection.folder / "val.json"))
    assert found["test"] == ("place-missing", str(detection.folder / "tset"))
    assert "draw them" in report.text()


def test_heads_and_metrics_that_contradict_the_data(detection):
    heads = [{"num_classes": 2}, {"num_classes": 80}]
    detection.config["model"] = {"backbone": {"num_classes": 1000}, "roi_head": {"bbox_head": heads}}
    good, other = str(detection.folder / "val.json"), str(detection.folder / "train.json")
    detection.config["val_evaluator"] = [{"type": "CocoMetric", "ann_file": good}]
    detection.config["test_evaluator"] = {"type": "CocoMetric", "ann_file": other}
    found = {(f.kind, f.split): f.examples for f in detection.check().findings}
    assert set(found) == {("class-count", s) for s in ("train", "val", "test")} | {("truth-differs", "test")}
    assert found["class-count", "train"] == ("model.roi_head.bbox_head.1.num_classes is 80, of 2",)
    assert found["truth-differs", "test"][0].startswith(f"test_evaluator reads {other}, the data are")


def test_wrappers_are_seen_through_and_parts_are_all_checked(detection):
    train, val = (detection.config[f"{split}_dataloader"]["dataset"] for split in ("train", "val"))
    both = {"type": "ConcatDataset", "datasets": [train, val]}
    detection.config["train_dataloader"]["dataset"] = {"type": "RepeatDataset", "times": 2, "dataset": both}
    detection.edit("val", of_first(bbox=[4, 6, 0, 10]))
    report = detection.check("train")
    assert report.images == {"train": 4} and report.examples["train"] == {"cat": 4, "dog": 4}
    assert [f.kind for f in report.findings] == ["box-empty"]


def test_other_forms_of_annotations_are_named_as_not_checked(detection):
    train, val = (detection.config[f"{split}_dataloader"]["dataset"] for split in ("train", "val"))
    panoptic = {**train, "type": "CocoPanopticDataset"}
    detection.config["train_dataloader"]["dataset"] = {"type": "ConcatDataset", "datasets": [train, panoptic]}
    detection.config["val_dataloader"]["dataset"] = {**val, "type": "XMLDataset", "ann_file": "a.txt"}
    detection.config["test_dataloader"]["dataset"]["backend_args"] = {"backend": "petrel"}
    report = detection.check()
    assert set(report.images) == {"train"}
    assert [line.partition(":")[0] for line in report.not_checked] == ["train", "val", "test"]
    for name, line in zip(("CocoPanopticDataset", "XMLDataset", "backend_args"), report.not_checked, strict=True):
        assert name in line


def test_the_record_holds_everything(detection):
    detection.edit("train", of_first(bbox=[4, 6, 0, 10]))
    record = json.loads(json.dumps(detection.check().record()))
    assert record["broken"] and record["splits"]["train"] == {"images": 2, "examples": {"cat": 2, "dog": 2}}
    (finding,) = record["findings"]
    assert finding["kind"] == "box-empty" and finding["cure"] and finding["count"] == 1


def test_examples_differ(detection):
    def add_emus(record):
        record["categories"].append({"id": 60, "name": "emu"})
        for i, annotation in enumerate(list(record["annotations"])):
            record["annotations"].append({**annotation, "id": 1000 + i, "category_id": 60})

    detection.edit("train", add_emus)
    (finding,) = detection.check("train").findings
    assert (finding.kind, finding.count, finding.examples) == ("category-unused", 4, ("emu",))
