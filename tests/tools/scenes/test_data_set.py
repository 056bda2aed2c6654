"""The digit-scenes data set: what it holds, and that it is written whole and never over other files."""

import hashlib
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from scenes import data_set
from scenes.data_set import make_digit_scenes
from scenes.drawing import DIGITS_PER_SCENE
from scenes.styles import STYLES


@pytest.fixture(scope="module")
def night_scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "night"
    assert make_digit_scenes(out, style="night", size=64, train=12, val=6, seed=3)
    return out


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_arguments_give_same_files_and_another_seed_others(digit_scenes, tmp_path):
    make_digit_scenes(tmp_path / "a", size=64, train=12, val=6, seed=3)
    make_digit_scenes(tmp_path / "b", size=64, train=12, val=6, seed=4)
    first, same, other = digest(digit_scenes), digest(tmp_path / "a"), digest(tmp_path / "b")
    assert first == same
    images = [name for name in first if name.startswith(("train/", "val/"))]
    assert len(images) == 18 and not any(first[name] == other[name] for name in images)


@pytest.mark.parametrize("style", STYLES)
def test_boxes_masks_and_label_maps_agree(style, digit_scenes, night_scenes):
    folder = {"day": digit_scenes, "night": night_scenes}[style]
    for split, count in (("train", 12), ("val", 6)):
        coco = COCO(str(folder / f"{split}.json"))
        assert len(coco.imgs) == count
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list("0123456789")
        for image in coco.imgs.values():
            label_map = cv2.imread(str(folder / f"{split}_labels" / image["file_name"]), cv2.IMREAD_UNCHANGED)
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
            assert cv2.imread(str(folder / split / image["file_name"])).shape == (64, 64, 3)


def test_the_default_style_is_what_it_was(digit_scenes):
    """Recorded before there were styles; pixels only to within what other builds of OpenCV round otherwise."""
    assert json.loads((digit_scenes / "meta.json").read_text()) == {
        "size": 64,
        "train": 12,
        "val": 6,
        "seed": 3,
        "version": 2,
    }
    annotations = json.loads((digit_scenes / "train.json").read_text())["annotations"]
    first = [(0, [39.0, 5.0, 11.0, 17.0]), (0, [33.0, 32.0, 14.0, 20.0]), (2, [41.0, 19.0, 14.0, 21.0])]
    assert [(a["category_id"], a["bbox"]) for a in annotations[:3]] == first and len(annotations) == 88
    means = [cv2.imread(str(digit_scenes / "train" / f"{i:05d}.png")).mean((0, 1)) for i in (0, 5, 11)]
    recorded = [[35.13, 33.02, 32.43], [96.20, 129.80, 164.27], [103.42, 119.94, 147.99]]
    np.testing.assert_allclose(means, recorded, atol=0.1)


def test_night_is_darker_with_less_contrast(digit_scenes, night_scenes):
    """Luminance of the background, and how far the digits' is from it."""

    def statistics(folder):
        background, contrast = [], []
        for file in sorted((folder / "train").iterdir()):
            grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE).astype(float)
            digits = cv2.imread(str(folder / "train_labels" / file.name), cv2.IMREAD_UNCHANGED) > 0
            background.append(grey[~digits].mean())
            contrast.append(abs(grey[digits] - grey[~digits].mean()).mean())
        return np.mean(background), np.mean(contrast)

    day, night = statistics(digit_scenes), statistics(night_scenes)
    assert night[0] < 0.6 * day[0] and night[1] < 0.8 * day[1]
    blue, _, red = np.mean([cv2.imread(str(f)).mean((0, 1)) for f in (night_scenes / "train").iterdir()], axis=0)
    assert blue > 1.2 * red


def test_every_digit_stays_visible(digit_scenes):
    coco = json.loads((digit_scenes / "train.json").read_text())
    counts = np.bincount([a["image_id"] for a in coco["annotations"]], minlength=12)
    assert counts.min() >= 1 and counts.max() <= DIGITS_PER_SCENE[1]
    assert min(a["area"] for a in coco["annotations"]) > 10


def test_it_is_not_written_twice_and_never_over_other_files(digit_scenes, tmp_path):
    assert not make_digit_scenes(digit_scenes, size=64, train=12, val=6, seed=3)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not the digit-scenes data set"):
        make_digit_scenes(tmp_path, size=64, train=1, val=1)
    for meta in ('{"camera": "mine"}', '{"data": "other", "seed": 0, "version": 1}', "{", "[]", "{}"):
        (tmp_path / "meta.json").write_text(meta)
        with pytest.raises(FileExistsError, match="is not the digit-scenes data set"):
            make_digit_scenes(tmp_path, size=64, train=1, val=1)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_other_arguments_replace_the_data_set_whole(tmp_path):
    out = tmp_path / "scenes"
    make_digit_scenes(out, size=64, train=3, val=1)
    assert make_digit_scenes(out, size=64, train=2, val=1)
    assert len(list((out / "train").iterdir())) == 2
    with pytest.raises(FileExistsError, match=r"other options \(train 2, not 3\): move it away"):
        make_digit_scenes(out, size=64, train=3, val=1, replace=False)
    assert not make_digit_scenes(out, size=64, train=2, val=1, replace=False)
    assert len(list((out / "train").iterdir())) == 2


@pytest.mark.parametrize("arguments", [{"size": 32}, {"train": 0}, {"val": 0}, {"seed": -1}])
def test_bad_arguments_are_named(tmp_path, arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name}={arguments[name]}"):
        make_digit_scenes(tmp_path / "x", **arguments)
    assert not list(tmp_path.iterdir())


def test_styles_have_their_own_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(data_set, "DEFAULT_OUT", tmp_path / "digit_scenes")
    for style in STYLES:
        make_digit_scenes(style=style, size=64, train=1, val=1)
    assert {p.name for p in tmp_path.iterdir()} == {"digit_scenes", "digit_scenes_night"}
    with pytest.raises(ValueError, match=r"style must be one of \['day', 'night'\], got 'dusk'"):
        make_digit_scenes(tmp_path / "x", style="dusk")
