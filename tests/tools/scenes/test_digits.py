"""scikit-learn's digits: their splits, and the image folder of them."""

import cv2
import numpy as np
import pytest
from scenes.digits import load_digits, split_digits, write_digits


def test_splits_share_no_digit_bitmap():
    bitmaps, labels = load_digits()
    parts = split_digits(labels, seed=0)
    hashes = {name: {bitmaps[i].tobytes() for i in indices} for name, indices in parts.items()}
    assert not hashes["train"] & hashes["val"]
    assert len(parts["train"]) + len(parts["val"]) == len(labels)
    assert set(labels[parts["val"]]) == set(labels[parts["train"]]) == set(range(10))


def test_digits_are_those_of_scikit_learn_split_by_class(tmp_path):
    from sklearn import datasets

    out = tmp_path / "digits"
    assert write_digits(out) and not write_digits(out)
    found = {split: sorted((out / split).rglob("*.png")) for split in ("train", "val")}
    assert {split: len(files) for split, files in found.items()} == {"train": 1438, "val": 359}
    assert not {f.name for f in found["train"]} & {f.name for f in found["val"]}
    shares = np.bincount([int(f.parent.name) for f in found["val"]])
    assert len(shares) == 10 and shares.min() == 35 and shares.max() == 37

    ours = [(cv2.imread(str(f), cv2.IMREAD_GRAYSCALE), f) for f in found["train"] + found["val"]]
    theirs = datasets.load_digits()
    assert sorted(((image / 15.9375).round().astype(int).tobytes(), int(f.parent.name)) for image, f in ours) == sorted(
        (image.astype(int).tobytes(), label) for image, label in zip(theirs.images, theirs.target, strict=True)
    )

    assert write_digits(out, seed=1)  # takes the place of the other
    assert {f.name for f in (out / "val").rglob("*.png")} != {f.name for f in found["val"]}
    assert len(list(out.rglob("*.png"))) == 1797


def test_digits_are_not_written_over_other_files(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not the digits data set"):
        write_digits(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
