"""Pixels of one picture in many files, files that are broken, and frames of videos."""

import cv2
import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image
from prediction.reading import Unreadable, Video, read_image


@pytest.fixture
def load():
    init_default_scope("mmdet")
    return Compose([{"type": "LoadImageFromFile"}])


@pytest.fixture
def picture():
    """Random colours, smooth enough for JPEG."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (48, 36), interpolation=cv2.INTER_CUBIC)


def turned(picture):
    """Stored on its side, with the note to turn it back."""
    note = Image.Exif()
    note[0x112] = 6
    return Image.fromarray(np.ascontiguousarray(np.rot90(picture))), note


FORMS = ["plain", "exif", "16 bits", "palette", "grey", "grey 16", "1 bit"]
FILES = [(form, suffix) for form in FORMS for suffix in ("png", "tif")]
FILES += [("alpha", "png"), ("cmyk", "tif")]  # OpenCV multiplies by alpha in TIFF, and PNG has no CMYK


@pytest.mark.parametrize(("form", "suffix"), FILES)
def test_forms_of_a_picture_are_read_alike(form, suffix, picture, load, tmp_path):
    path, image, options = tmp_path / f"x.{suffix}", Image.fromarray(picture), {}
    grey = np.asarray(image.convert("L"))
    if form == "alpha":
        alpha = Image.fromarray(np.where(np.arange(48) > 20, 255, 0).astype(np.uint8)[None].repeat(36, 0))
        image.putalpha(alpha)
    elif form == "exif":
        image, options["exif"] = turned(picture)
    elif form == "palette":
        image = image.quantize(200)
        picture = np.asarray(image.convert("RGB"))
    elif form == "grey":
        image, picture = Image.fromarray(grey), grey[..., None].repeat(3, 2)
    elif form == "1 bit":
        image = image.convert("1")
        picture = np.asarray(image.convert("RGB"))
    elif form == "cmyk":
        image = image.convert("CMYK")
        picture = np.asarray(image.convert("RGB"))
    if form == "16 bits":
        cv2.imwrite(str(path), picture[..., ::-1].astype(np.uint16) * 257)
    elif form == "grey 16":
        cv2.imwrite(str(path), grey.astype(np.uint16) * 257)
        picture = grey[..., None].repeat(3, 2)
    else:
        image.save(path, **options)
    np.testing.assert_array_equal(read_image(path, load), picture[..., ::-1])


def test_jpeg_turned_grey_and_cmyk_differ_by_its_rounding(picture, load, tmp_path):
    def read(image, **options):
        image.save(tmp_path / "x.jpg", quality=100, subsampling=0, **options)
        return read_image(tmp_path / "x.jpg", load)[..., ::-1].astype(int)

    image, note = turned(picture)
    assert np.abs(read(image, exif=note) - picture).max() <= 4
    assert np.abs(read(Image.fromarray(picture).convert("CMYK")) - picture).max() <= 6
    grey = Image.fromarray(picture).convert("L")
    assert np.abs(read(grey) - np.asarray(grey)[..., None]).max() <= 3


def test_broken_files_say_what_is_wrong(picture, load, tmp_path):
    path = tmp_path / "x.png"
    path.touch()
    with pytest.raises(Unreadable, match="the file is empty"):
        read_image(path, load)
    path.write_text("hello")
    with pytest.raises(Unreadable, match="no image can be read from it"):
        read_image(path, load)
    big = cv2.resize(picture, (480, 360))
    for suffix in ("jpg", "png", "tif"):
        path = tmp_path / f"cut.{suffix}"
        cv2.imwrite(str(path), big)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
        with pytest.raises(Unreadable):
            read_image(path, load)
    two = Compose([{"type": "LoadImageFromFile", "color_type": "unchanged"}])
    Image.fromarray(picture).convert("LA").convert("L").save(tmp_path / "x.png")
    with pytest.raises(Unreadable, match=r"3 channels are needed, it has the shape \(36, 48\)"):
        read_image(tmp_path / "x.png", two)


def test_frames_of_a_video(tmp_path):
    path = tmp_path / "x.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 32))
    for value in (0, 100, 200):
        writer.write(np.full((32, 48, 3), value, np.uint8))
    writer.release()
    video = Video(path)
    assert video.rate == 10
    assert [round(float(frame.mean())) for frame in video] == [0, 100, 200]
    path.write_text("hello")
    with pytest.raises(Unreadable, match="no video can be read from it"):
        Video(path)
