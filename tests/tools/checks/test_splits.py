"""Files that are in two splits."""

import shutil


def test_a_copy_under_another_name_is_found(detection):
    shutil.copy(detection.folder / "train/1.png", detection.folder / "test/0.png")
    (finding,) = detection.check().findings
    assert (finding.kind, finding.split, finding.count) == ("image-shared", "train, test", 1)
    assert finding.examples == (f"{detection.folder / 'train/1.png'} and {detection.folder / 'test/0.png'}",)


def test_the_same_path_in_two_lists_is_found(detection):
    dataset = detection.config["val_dataloader"]["dataset"]
    detection.edit("val", lambda r: r["images"][0].update(file_name="../train/0.png"))
    assert dataset["data_prefix"] == {"img": "val"}
    (finding,) = detection.check().findings
    assert (finding.kind, finding.split, finding.count) == ("image-shared", "train, val", 1)


def test_testing_on_what_is_validated_on_is_no_finding(detection):
    detection.config["test_dataloader"] = detection.config["val_dataloader"]
    report = detection.check()
    assert report.findings == [] and set(report.images) == {"train", "val"} and report.same == {"test": "val"}
    assert "test: the same as val" in report.text()


def test_equal_lengths_alone_are_no_finding(detection):
    for split, fill in (("train", b"a"), ("val", b"b")):
        file = detection.folder / split / "0.png"
        file.write_bytes(file.read_bytes() + fill)  # after the end, so that the images are still sound
    sizes = [(detection.folder / split / "0.png").stat().st_size for split in ("train", "val")]
    assert sizes[0] == sizes[1]
    assert detection.check().findings == []
