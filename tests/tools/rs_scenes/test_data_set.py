"""The data set: what it holds, that others can read it, and that it is written whole and never over other files."""

import hashlib
import json
from functools import partial

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from rs_scenes.cover import NAMES
from rs_scenes.data_set import MODALITIES, PAIR_MODALITIES, SCENE, SPLITS, generator, make_rs_scenes
from rs_scenes.objects import KINDS
from rs_scenes.plan import SCENE_CLASSES
from rs_scenes.scene import draw_scene
from scenes.digits import write_digits

from backbones.remote_sensing import paired_files, read_bands

COUNTS = {"train": 10, "val": 5, "test": 5}
make = partial(make_rs_scenes, size=128, val=5, test=5)


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def labels_of(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def bands_of(path):
    return np.moveaxis(read_bands(path)[0], 0, -1)


def test_the_same_seed_gives_the_same_files_and_more_scenes_begin_with_them(rs_scenes, tmp_path):
    make(tmp_path / "fewer", train=5, seed=3)
    fewer, more = digest(tmp_path / "fewer"), digest(rs_scenes)
    of_scenes = {name for name in fewer if "/" in name}
    of_splits = {f"{split}{end}.json" for split in ("val", "test") for end in ("", "_scenes")}
    assert len(of_scenes) == 15 * 15 and {n: fewer[n] for n in of_scenes | of_splits}.items() <= more.items()
    assert fewer["train.json"] != more["train.json"]


def test_another_seed_gives_other_scenes():
    first, other = (draw_scene(generator(seed, "train", 0, SCENE), 128, "coast") for seed in (3, 4))
    assert not np.array_equal(first.layout.labels, other.layout.labels) and not np.array_equal(first.sar, other.sar)


def test_splits_and_pictures_share_nothing(rs_scenes):
    for folder in ("{}/optical_clear", "{}/sar", "{}_labels", "{}_changes/optical_before"):
        pictures = [
            hashlib.sha256(f.read_bytes()).hexdigest() for s in SPLITS for f in (rs_scenes / folder.format(s)).iterdir()
        ]
        assert len(pictures) == 20 == len(set(pictures))


@pytest.mark.parametrize("split", SPLITS)
def test_modalities_have_equal_names_and_sizes(split, rs_scenes):
    stems = [f"{i:05d}" for i in range(COUNTS[split])]
    assert list(paired_files(rs_scenes / split, MODALITIES)) == stems
    assert list(paired_files(rs_scenes / f"{split}_changes", PAIR_MODALITIES)) == stems
    records = json.loads((rs_scenes / f"{split}_scenes.json").read_text())
    for stem, record in zip(stems, records, strict=True):
        optical, clear, cloudy, sar = (bands_of(rs_scenes / split / m / f"{stem}.tif") for m in MODALITIES)
        assert optical.shape == clear.shape == cloudy.shape == (128, 128, 3) and optical.dtype == np.uint8
        assert sar.shape == (128, 128, 2) and sar.dtype == np.float32
        np.testing.assert_array_equal(optical, cloudy if record["clouded"] else clear)
        assert 0.05 < record["cloud_cover"] < 0.55
        assert cloudy.mean() > clear.mean()
        labels = labels_of(rs_scenes / f"{split}_labels" / f"{stem}.png")
        assert labels.shape == (128, 128) and labels.dtype == np.uint8 and labels.max() < len(NAMES)
    assert sum(r["clouded"] for r in records) == len(records) // 10 * 5


def test_pictures_show_what_the_labels_say(rs_scenes):
    """Water is darker than all else in both, and lies at the same place."""
    for index in range(5):
        labels = labels_of(rs_scenes / f"train_labels/{index:05d}.png")
        if 300 < (labels == 0).sum() < labels.size - 300:
            vv = bands_of(rs_scenes / f"train/sar/{index:05d}.tif")[..., 0]
            red = bands_of(rs_scenes / f"train/optical_clear/{index:05d}.tif")[..., 0]
            assert np.median(vv[labels == 0]) < np.median(vv[labels > 0]) - 2
            assert np.median(red[labels == 0]) < np.median(red[labels > 0]) - 10


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_masks_and_dotas_text_agree(split, rs_scenes):
    coco = COCO(str(rs_scenes / f"{split}.json"))
    assert len(coco.imgs) == COUNTS[split] and len(coco.anns) >= 5
    assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())} == dict(enumerate(KINDS, start=1))
    for image in coco.imgs.values():
        lines = (rs_scenes / f"{split}_dota" / image["file_name"].replace("tif", "txt")).read_text().splitlines()
        labels = labels_of(rs_scenes / f"{split}_labels" / image["file_name"].replace("tif", "png"))
        for annotation, line in zip(coco.imgToAnns[image["id"]], lines, strict=True):
            mask = coco.annToMask(annotation).astype(bool)
            assert annotation["bbox"] == list(coco_mask.toBbox(annotation["segmentation"]))
            assert annotation["area"] == mask.sum()
            kind = KINDS[annotation["category_id"] - 1]
            assert set(labels[mask].tolist()) == {0 if kind == "ship" else 5}
            x, y, long, short, angle = annotation["rotated"]
            *corners, name, difficult = line.split()
            points = np.array(corners, float).reshape(4, 2)
            box = cv2.boxPoints(((x, y), (long, short), np.degrees(angle)))
            assert abs(points[:, None] - box).max(-1).min(1).max() < 0.02 and (name, difficult) == (kind, "0")
            assert long >= short and -np.pi / 2 <= angle < np.pi / 2


@pytest.mark.parametrize("split", SPLITS)
def test_change_maps_are_the_difference_of_label_maps(split, rs_scenes):
    folder = rs_scenes / f"{split}_changes"
    for index in range(COUNTS[split]):
        change, before, after = (labels_of(folder / f"labels{d}/{index:05d}.png") for d in ("", "_before", "_after"))
        np.testing.assert_array_equal(change, before != after)


@pytest.mark.parametrize("modality", ["optical", "sar"])
def test_folders_of_classes_hold_the_same_files(modality, rs_scenes):
    for split in SPLITS:
        folders = sorted((rs_scenes / "classes" / split / modality).iterdir())
        assert [f.name for f in folders] == sorted(SCENE_CLASSES)
        assert all(len(list(f.iterdir())) == COUNTS[split] // 5 for f in folders)
        for record in json.loads((rs_scenes / f"{split}_scenes.json").read_text()):
            name = f"{record['file']}.tif"
            of_class = rs_scenes / "classes" / split / modality / record["class"] / name
            assert of_class.read_bytes() == (rs_scenes / split / modality / name).read_bytes()


def test_mmdet_reads_it(rs_scenes):
    from mmdet.datasets import CocoDataset
    from mmengine.registry import init_default_scope

    init_default_scope("mmdet")
    data = CocoDataset(
        data_root=str(rs_scenes),
        ann_file="train.json",
        data_prefix={"img": "train/optical"},
        metainfo={"classes": KINDS},
        filter_cfg={"filter_empty_gt": False},
        pipeline=[{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True}],
    )
    annotations, boxes = json.loads((rs_scenes / "train.json").read_text())["annotations"], 0
    for index in range(len(data)):
        sample = data[index]
        optical = bands_of(rs_scenes / f"train/optical/{index:05d}.tif")
        np.testing.assert_array_equal(sample["img"], optical[..., ::-1])
        boxes += len(sample["gt_bboxes"])
        areas = sum(a["area"] for a in annotations if a["image_id"] == sample["img_id"])
        assert sample["gt_masks"].masks.sum() == areas
    assert len(data) == 10 and boxes == len(annotations)


@pytest.mark.parametrize(
    "modality, load",
    [
        ("optical_cloudy", {"type": "LoadImageFromFile"}),
        ("sar", {"type": "LoadImageFromFile", "imdecode_backend": "tifffile", "color_type": "unchanged"}),
    ],
)
def test_mmseg_reads_it(modality, load, rs_scenes):
    from mmengine.registry import init_default_scope
    from mmseg.datasets import BaseSegDataset

    init_default_scope("mmseg")
    data = BaseSegDataset(
        data_root=str(rs_scenes),
        data_prefix={"img_path": f"val/{modality}", "seg_map_path": "val_labels"},
        img_suffix=".tif",
        seg_map_suffix=".png",
        metainfo={"classes": NAMES},
        reduce_zero_label=False,
        pipeline=[load, {"type": "LoadAnnotations"}],
    )
    assert len(data) == 5
    for index in range(5):
        picture = bands_of(rs_scenes / f"val/{modality}/{index:05d}.tif")
        np.testing.assert_array_equal(data[index]["img"], picture if modality == "sar" else picture[..., ::-1])
        np.testing.assert_array_equal(data[index]["gt_seg_map"], labels_of(rs_scenes / f"val_labels/{index:05d}.png"))


def test_it_is_not_written_twice_and_never_over_other_files(rs_scenes, tmp_path):
    assert not make(rs_scenes, train=10, seed=3)
    write_digits(tmp_path / "digits")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    before = digest(tmp_path)
    for name in ("digits", "mine"):
        with pytest.raises(FileExistsError, match="is not the remote-sensing scenes data set"):
            make(tmp_path / name, train=5)
    assert digest(tmp_path) == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"size": 96}, "size must be >= 128, got size=96"),
        ({"train": 4}, "train must be >= 5, one of each class; got train=4"),
        ({"test": 0}, "test=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_arguments_are_named(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_rs_scenes(tmp_path / "x", **arguments)
    assert not list(tmp_path.iterdir())
