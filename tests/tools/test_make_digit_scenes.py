import hashlib
import json
import subprocess
import sys

import cv2
import make_digit_scenes as scenes
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_arguments_give_same_files_and_another_seed_others(digit_scenes, tmp_path):
    scenes.make_digit_scenes(tmp_path / "a", size=64, train=12, val=6, seed=3)
    scenes.make_digit_scenes(tmp_path / "b", size=64, train=12, val=6, seed=4)
    first, same, other = digest(digit_scenes), digest(tmp_path / "a"), digest(tmp_path / "b")
    assert first == same
    images = [name for name in first if name.startswith(("train/", "val/"))]
    assert len(images) == 18 and not any(first[name] == other[name] for name in images)


def test_boxes_masks_and_label_maps_agree(digit_scenes):
    for split, count in (("train", 12), ("val", 6)):
        coco = COCO(str(digit_scenes / f"{split}.json"))
        assert len(coco.imgs) == count
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list("0123456789")
        for image in coco.imgs.values():
            label_map = cv2.imread(str(digit_scenes / f"{split}_labels" / image["file_name"]), cv2.IMREAD_UNCHANGED)
            drawn = np.zeros_like(label_map)
            for annotation in coco.imgToAnns[image["id"]]:
                mask = coco.annToMask(annotation).astype(bool)
                assert not drawn[mask].any(), "masks of one scene overlap"
                drawn[mask] = 1 + annotation["category_id"]
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                tight = [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
                assert annotation["bbox"] == [float(v) for v in tight]
                assert annotation["area"] == mask.sum() == coco_mask.area(annotation["segmentation"])
            assert np.array_equal(drawn, label_map)
            assert cv2.imread(str(digit_scenes / split / image["file_name"])).shape == (64, 64, 3)


def test_splits_share_no_digit_bitmap():
    bitmaps, labels = scenes.load_digits()
    parts = scenes.split_digits(labels, seed=0)
    hashes = {name: {bitmaps[i].tobytes() for i in indices} for name, indices in parts.items()}
    assert not hashes["train"] & hashes["val"]
    assert len(parts["train"]) + len(parts["val"]) == len(labels)
    assert set(labels[parts["val"]]) == set(labels[parts["train"]]) == set(range(10))


def test_splits_share_no_photograph_region():
    for photograph in scenes.load_photographs():
        coordinates = np.arange(photograph[..., 0].size).reshape(photograph.shape[:2])
        train, val = (set(scenes.region(coordinates, split).ravel()) for split in ("train", "val"))
        assert train and val and not train & val
    digests = [p.tobytes() for p in scenes.load_photographs()]
    assert len(set(digests)) == len(digests), "a photograph occurs twice"


def test_every_digit_stays_visible(digit_scenes):
    coco = json.loads((digit_scenes / "train.json").read_text())
    counts = np.bincount([a["image_id"] for a in coco["annotations"]], minlength=12)
    assert counts.min() >= 1 and counts.max() <= scenes.DIGITS_PER_SCENE[1]
    assert min(a["area"] for a in coco["annotations"]) > 10


def test_it_is_not_written_twice_and_never_over_other_files(digit_scenes, tmp_path):
    assert not scenes.make_digit_scenes(digit_scenes, size=64, train=12, val=6, seed=3)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not a digit-scenes data set"):
        scenes.make_digit_scenes(tmp_path, size=64, train=1, val=1)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_other_arguments_replace_the_data_set_whole(tmp_path):
    out = tmp_path / "scenes"
    scenes.make_digit_scenes(out, size=64, train=3, val=1)
    assert scenes.make_digit_scenes(out, size=64, train=2, val=1)
    assert len(list((out / "train").iterdir())) == 2


@pytest.mark.parametrize("arguments", [{"size": 32}, {"train": 0}, {"val": 0}, {"seed": -1}])
def test_bad_arguments_are_named(tmp_path, arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name}={arguments[name]}"):
        scenes.make_digit_scenes(tmp_path / "x", **arguments)
    assert not list(tmp_path.iterdir())


def test_command_line(root, tmp_path):
    command = [sys.executable, root / "tools/make_digit_scenes.py", "--out", tmp_path / "d", "--size", "64"]
    result = subprocess.run([*command, "--train", "2", "--val", "1"], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0 and "2 + 1 scenes of 64 px" in result.stdout
    result = subprocess.run([*command, "--train", "0"], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2 and "train and val >= 1" in result.stderr
