"""Images of several modalities and of two dates in the pipelines of the frameworks."""

from __future__ import annotations

import shutil

import cv2
import mmcv.transforms  # noqa: F401 - registers LoadImageFromFile, as every framework does
import numpy as np
import pytest
import tifffile
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from backbones.openmmlab import LoadModalities, LoadPair

OPTICAL = {"name": "optical", "bands": ["R", "G", "B"], "unit": "uint8", "mean": 100.0, "std": 50.0}
SAR = {"name": "sar", "bands": ["VV", "VH"], "unit": "dB", "mean": [-13.0, -18.0], "std": 4.0}
#: Of the bands of a place: R, G, B, VV, VH.
SIZE = (40, 56)


@pytest.fixture
def place(tmp_path):
    """A place of known values: the listed file, and the five bands."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    radar = rng.uniform(-25, -5, (*SIZE, 2)).astype(np.float32)
    for folder in ("optical", "sar"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "optical/a.1.png"), colours[..., ::-1])
    tifffile.imwrite(tmp_path / "sar/a.1.tif", radar, photometric="minisblack", planarconfig="contig")
    return tmp_path / "optical/a.1.png", np.concatenate([colours.astype(np.float32), radar], -1)


def load(path, modalities=(OPTICAL, SAR), **options):
    options = {"folders": {"sar": "sar"} if len(modalities) > 1 else None, **options}
    return LoadModalities(modalities, **options)({"img_path": str(path)})


def test_bands_are_packed_in_the_order_of_the_specs(place):
    path, bands = place
    found = load(path)
    assert np.array_equal(found["img"], bands) and found["img"].dtype == np.float32
    assert found["img_shape"] == found["ori_shape"] == SIZE
    assert np.array_equal(load(path, (SAR, OPTICAL))["img"], bands[..., [3, 4, 0, 1, 2]])
    assert np.array_equal(load(path, (OPTICAL,))["img"], bands[..., :3])
    radar = path.parent.parent / "sar/a.1.tif"
    assert np.array_equal(load(radar, (SAR,))["img"], bands[..., 3:])
    assert np.array_equal(load(radar, (OPTICAL, SAR), folders={"optical": "optical"})["img"], bands)
    one = {**SAR, "bands": ["VH"], "mean": -18.0}
    assert np.array_equal(load(radar, (one,), bands={"sar": ["VV", "VH"]})["img"], bands[..., 4:])


def test_steps_of_the_frameworks_take_any_number_of_bands(place):
    path, bands = place
    init_default_scope("mmdet")
    box = {"bbox": [8, 4, 24, 20], "bbox_label": 0, "ignore_flag": 0}
    step = {"type": "LoadModalities", "modalities": [OPTICAL, SAR], "folders": {"sar": "sar"}}
    found = Compose(
        [
            step,
            {"type": "LoadAnnotations", "with_bbox": True},
            {"type": "Resize", "scale_factor": 0.5},
            {"type": "RandomFlip", "prob": 1.0},
            {"type": "Pad", "size_divisor": 32, "pad_val": {"img": 0.0}},  # a float, or OpenCV takes four channels
            {"type": "PackDetInputs"},
        ]
    )({"img_path": str(path), "instances": [box], "height": 40, "width": 56, "img_id": 0})
    resized = np.stack([cv2.resize(band, (28, 20)) for band in np.moveaxis(bands, -1, 0)])
    assert found["inputs"].shape == (5, 32, 32)
    assert np.allclose(found["inputs"][:, :20, :28], resized[..., ::-1], atol=1e-4)
    assert found["data_samples"].gt_instances.bboxes.tensor.tolist() == [[16.0, 2.0, 24.0, 10.0]]

    init_default_scope("mmseg")
    labels = np.arange(40 * 56).reshape(SIZE).astype(np.uint8)
    cv2.imwrite(str(path.parent.parent / "labels.png"), labels)
    given = {"img_path": str(path), "seg_map_path": str(path.parent.parent / "labels.png"), "seg_fields": []}
    given |= {"reduce_zero_label": False, "label_map": None}
    found = Compose(
        [
            step,
            {"type": "LoadAnnotations"},
            {"type": "RandomCrop", "crop_size": (16, 24)},
            {"type": "RandomFlip", "prob": 1.0},
            {"type": "PackSegInputs"},
        ]
    )(given)
    truth = found["data_samples"].gt_sem_seg.data[0].numpy()
    # Wherever the crop was, pixels and labels are of the same place.
    rows, columns = np.where(labels == truth[0, 0])
    matches = [
        np.array_equal(found["inputs"].numpy(), np.moveaxis(bands[y : y + 16, x - 23 : x + 1][:, ::-1], -1, 0))
        for y, x in zip(rows, columns, strict=True)
        if x >= 23 and y + 16 <= 40
    ]
    assert sum(matches) == 1


def test_a_partner_that_is_missing(place):
    path, bands = place
    radar = path.parent.parent / "sar/a.1.tif"
    shutil.copy(path, radar.with_suffix(".png"))  # a second one of the same name
    with pytest.raises(FileNotFoundError, match=r"in .*sar: there are several: a\.1\.png, a\.1\.tif"):
        load(path.rename(path.with_suffix(".jpg")))
    path = path.with_suffix(".jpg").rename(path)
    radar.unlink()
    radar.with_suffix(".png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.1\.png needs one partner of modality 'sar' in .*: there is none"):
        load(path)
    filled = load(path, missing="mean")["img"]
    assert np.array_equal(filled[..., :3], bands[..., :3]) and (filled[..., 3:] == [-13.0, -18.0]).all()
    with pytest.raises(FileNotFoundError, match="image of modality 'optical' is not there"):
        load(path.with_name("b.png"))


def test_images_that_do_not_belong_together_or_are_of_another_unit(place):
    path, bands = place
    radar = path.parent.parent / "sar/a.1.tif"
    tifffile.imwrite(radar, bands[:32, :, 3:], photometric="minisblack", planarconfig="contig")
    with pytest.raises(ValueError, match=r"one size, but .*a\.1\.png is 40 x 56 and .*a\.1\.tif is 32 x 56"):
        load(path)
    tifffile.imwrite(radar, 10 ** (bands[..., 3:] / 10), photometric="minisblack", planarconfig="contig")
    with pytest.raises(ValueError, match=r"a\.1\.tif: band 'VV' of modality 'sar' .* is this linear power\?"):
        load(path)
    tifffile.imwrite(radar, bands[..., 3], photometric="minisblack")
    with pytest.raises(ValueError, match=r"a\.1\.tif has 1 bands"):
        load(path)
    picture = path.with_name("b.tif")  # pairs that say where they are
    for file, east, part, kind in (
        (picture, 0.0, bands[..., :3].astype(np.uint8), "rgb"),
        (radar.with_name("b.tif"), 50.0, bands[..., 3:], "minisblack"),
    ):
        tags = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 7e5 + east, 5e6, 0.0), True)]
        tifffile.imwrite(file, part, photometric=kind, planarconfig="contig", extratags=tags)
    with pytest.raises(ValueError, match=r"b\.tif and .*b\.tif say that they are of different places, 5 px apart"):
        load(picture)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": []}, "modalities must be at least one"),
        ({"modalities": [OPTICAL, OPTICAL]}, "of different names"),
        ({"folders": {"radar": "sar"}}, r"folders names \['radar'\], which are not among"),
        ({"folders": {}}, r"lacks \['optical', 'sar'\]"),
        ({"bands": {"radar": ["VV"]}}, r"bands names \['radar'\]"),
        ({"missing": "zeros"}, "missing must be one of"),
    ],
)
def test_arguments_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        LoadModalities(**{"modalities": [OPTICAL, SAR], "folders": {"sar": "sar"}, **options})


def test_pairs(place):
    path, bands = place
    root = path.parent.parent
    for folder in ("optical", "sar"):
        shutil.copytree(root / folder, root / f"{folder}_after")
    after = root / "optical_after/a.1.png"
    cv2.imwrite(str(after), np.zeros((*SIZE, 3), np.uint8) + np.arange(56, dtype=np.uint8)[:, None])
    steps = [
        {"type": "LoadModalities", "modalities": [OPTICAL, SAR], "folders": {"sar": folder}}
        for folder in ("sar", "sar_after")
    ]
    pair = {"img_path": str(path), "img_path2": str(after)}
    found = LoadPair(*steps)(pair)
    assert found["img"].shape == (*SIZE, 10) and found["img_path"] == str(path) and found["ori_shape"] == SIZE
    assert np.array_equal(found["img"][..., :5], bands) and np.array_equal(found["img"][..., 8:], bands[..., 3:])
    assert (found["img"][..., 5:8] == np.arange(56)[:, None]).all()
    stock = LoadPair({"type": "LoadImageFromFile"})(pair)["img"]
    assert np.array_equal(stock[..., :3], bands[..., 2::-1]) and stock.shape == (*SIZE, 6)

    cv2.imwrite(str(after), np.random.default_rng(0).integers(0, 9, (32, 56, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a pair must have one size, but .*optical/a\.1\.png and .* \(40, 56, 3\)"):
        LoadPair({"type": "LoadImageFromFile"})(pair)
    with pytest.raises(
        ValueError, match=r"a pair needs img_path and img_path2, got \['img_path'\]: functions that give one"
    ):
        LoadPair({"type": "LoadImageFromFile"})({"img_path": str(path)})
    after.unlink()
    with pytest.raises(FileNotFoundError, match=r"optical_after/a\.1\.png is not there, of the pair"):
        LoadPair(*steps)(pair)
