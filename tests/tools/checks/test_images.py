"""Image files: what is missing, broken or changed in loading."""

import numpy as np
import pytest
from checks.images import read_header
from PIL import Image


def write(folder, name, mode="RGB", size=(32, 24), **options):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3)).astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 60000, (size[1], size[0])).astype(np.uint16))
    elif mode != "RGB":
        image = image.convert(mode)
    image.save(folder / name, **options)
    return folder / name


def test_what_is_sound(tmp_path):
    for name, mode in (("a.png", "RGB"), ("b.jpg", "RGB"), ("c.png", "L"), ("d.tif", "RGB"), ("e.png", "RGBA")):
        assert read_header(write(tmp_path, name, mode), thorough=True) == ((), "", (32, 24))


@pytest.mark.parametrize(
    ("name", "mode", "kind"),
    [
        *(("a.png", "I;16", "image-16-bit"), ("a.tif", "F", "image-16-bit")),
        *(("a.jpg", "CMYK", "image-cmyk"), ("a.png", "P", "image-palette"), ("a.gif", "P", "image-palette")),
    ],
)
def test_kinds_that_loading_changes(tmp_path, name, mode, kind):
    assert read_header(write(tmp_path, name, mode)) == ((kind,), "", (32, 24))


@pytest.mark.parametrize(("orientation", "size"), [(3, (32, 24)), (6, (24, 32))])
def test_exif_turns_an_image_unless_loading_ignores_it(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[274] = orientation
    file = write(tmp_path, "a.jpg", exif=exif)
    assert read_header(file) == (("image-rotated",), "", size)
    assert read_header(file, turned=False) == ((), "", (32, 24))
    import mmcv

    assert mmcv.imread(str(file)).shape[1::-1] == size  # as the framework loads it


def test_missing_empty_and_foreign_files(tmp_path):
    assert read_header(tmp_path / "a.png").kinds == ("image-missing",)
    (tmp_path / "a.png").touch()
    assert read_header(tmp_path / "a.png") == (("image-unreadable",), "empty file", None)
    (tmp_path / "a.png").write_text("not an image")
    assert read_header(tmp_path / "a.png").kinds == ("image-unreadable",)
    (tmp_path / "folder.png").mkdir()
    assert read_header(tmp_path / "folder.png").kinds == ("image-missing",)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_an_image_that_ends_too_early_is_found_by_its_end(tmp_path, name):
    file = write(tmp_path, name, size=(64, 64))
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 3 // 4])
    assert read_header(file).kinds == ("image-truncated",)
    file.write_bytes(data + b"\0" * 5000)  # what some cameras add is no fault
    assert read_header(file).kinds == ()


def test_only_decoding_finds_damage_inside(tmp_path):
    file = write(tmp_path, "a.png", size=(64, 64))
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    file.write_bytes(data)
    assert read_header(file).kinds == ()
    assert read_header(file, thorough=True).kinds == ("image-truncated",)


def test_findings_of_a_data_set(detection):
    (detection.folder / "train/0.png").unlink()
    write(detection.folder, "val/1.png", "P", (40, 24))
    found = {(f.kind, f.split): f.examples for f in detection.check().findings}
    assert found["image-missing", "train"] == (str(detection.folder / "train/0.png"),)
    assert found["image-palette", "val"] == (str(detection.folder / "val/1.png"),)
    assert found["size-differs", "val"] == ("1.png: 32 x 24 annotated, 40 x 24 loaded",)
    assert len(found) == 3


def test_a_split_without_images(segmentation):
    segmentation.config["val_dataloader"]["dataset"]["img_suffix"] = ".jpg"
    found = {(f.kind, f.split) for f in segmentation.check().findings}
    assert found == {("images-none", "val"), ("label-without-image", "val")}
