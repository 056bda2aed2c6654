"""Folders of images: what is found, what is refused, and what a sample is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from backbones.pretraining import ImageFolder


def draw(path, height=40, width=60, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def test_files_are_found_and_sorted(tmp_path):
    for name in ("b/2.png", "b/10.JPG", "a.png", "c/deep/x.webp", ".hidden/x.png", "b/.y.png"):
        draw(tmp_path / name)
    (tmp_path / "labels.txt").write_text("no image")
    found = ImageFolder(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in found.paths] == [
        "a.png",
        "b/10.JPG",
        "b/2.png",
        "c/deep/x.webp",
    ]
    assert len(found) == 4


def test_the_middle(tmp_path):
    pixels = draw(tmp_path / "a.png", 40, 60)
    found = ImageFolder(tmp_path, size=40, train=False)[0]
    assert found.dtype == torch.uint8 and np.array_equal(found.permute(1, 2, 0), pixels[:, 10:50])
    assert ImageFolder(tmp_path, size=20, train=False)[0].shape == (3, 20, 20)


def test_crops_are_drawn_and_drawn_again(tmp_path):
    draw(tmp_path / "a.png")
    folder = ImageFolder(tmp_path, size=32)
    torch.manual_seed(0)
    first = [folder[0] for _ in range(5)]
    torch.manual_seed(0)
    assert all(torch.equal(folder[0], x) for x in first) and not torch.equal(first[0], first[1])
    assert all(x.shape == (3, 32, 32) for x in first)


def test_flips(tmp_path):
    pixels = draw(tmp_path / "a.png", 40, 40)
    whole = {"size": 40, "scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    assert np.array_equal(ImageFolder(tmp_path, **whole, flip=0)[0].permute(1, 2, 0), pixels)
    assert np.array_equal(ImageFolder(tmp_path, **whole, flip=1)[0].permute(1, 2, 0), pixels[:, ::-1])
    folder = ImageFolder(tmp_path, **whole)
    torch.manual_seed(0)
    flipped = sum(not np.array_equal(folder[0].permute(1, 2, 0), pixels) for _ in range(100))
    assert 30 < flipped < 70


def test_crops_have_areas_in_range(tmp_path):
    """Columns of an image whose values are their places tell how wide a crop was."""
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3))
    Image.fromarray(ramp.copy()).save(tmp_path / "a.png")
    folder = ImageFolder(tmp_path, size=64, scale=(0.25, 0.25), ratio=(1.0, 1.0), flip=0)
    torch.manual_seed(0)
    starts = []
    for _ in range(30):
        columns = folder[0][0, 0].float()
        assert 120 < columns.max() - columns.min() < 130
        starts.append(float(columns.min()))
    assert min(starts) < 30 and max(starts) > 95


def test_other_kinds_of_images(tmp_path):
    Image.new("L", (30, 30), 7).save(tmp_path / "grey.png")
    Image.new("RGBA", (30, 30), (1, 2, 3, 0)).save(tmp_path / "transparent.png")
    assert [tuple(ImageFolder(tmp_path, 16, train=False)[i][:, 0, 0].tolist()) for i in (0, 1)] == [
        (7, 7, 7),
        (1, 2, 3),
    ]
    turned = Image.new("RGB", (60, 40))
    turned.paste((255, 255, 255), (0, 0, 10, 40))  # a white strip at the left
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the strip is then at the top
    (tmp_path / "turned").mkdir()
    turned.save(tmp_path / "turned/a.png", exif=exif)
    found = ImageFolder(tmp_path / "turned", 16, train=False)[0]
    assert found[0, 0].float().mean() < 128 and ImageFolder(tmp_path / "turned", 60, train=False).paths


def test_bad_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="data_root is no folder"):
        ImageFolder(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/labels.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"data_root has no images \(\.bmp, .*\): .*empty"):
        ImageFolder(tmp_path / "empty")
    draw(tmp_path / "images/good.png")
    for i in range(7):
        (tmp_path / f"images/bad{i}.jpg").write_bytes(b"\xff\xd8 no image")
    (tmp_path / "images/bad1.jpg").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"7 of 8 files in data_root cannot be read .*bad0\.jpg \(no image\).* and 2 more\. M"
    ):
        ImageFolder(tmp_path / "images")


def test_bad_arguments(tmp_path):
    draw(tmp_path / "a.png")
    for options, words in (
        ({"size": 0}, "size must be a positive int, got 0"),
        ({"scale": (0.5, 1.5)}, r"scale must be two ascending numbers above 0, scale up to 1, got \(0\.5, 1\.5\)"),
        ({"ratio": (2, 1)}, r"ratio must be two ascending numbers"),
        ({"flip": 2}, "flip must be a probability, got 2"),
    ):
        with pytest.raises(ValueError, match=words):
            ImageFolder(tmp_path, **options)


def test_held_out_images_do_not_train_and_stay_where_they_are(tmp_path):
    for i in range(40):
        draw(tmp_path / f"{i}.png", 4, 4)
    trained, held = (ImageFolder(tmp_path, train=train, held_out=0.3).paths for train in (True, False))
    assert not set(trained) & set(held) and len(trained) + len(held) == 40 and 5 <= len(held) <= 20
    for i in range(40, 60):
        draw(tmp_path / f"{i}.png", 4, 4)
    assert set(held) <= set(ImageFolder(tmp_path, train=False, held_out=0.3).paths)
    assert len(ImageFolder(tmp_path).paths) == len(ImageFolder(tmp_path, train=False).paths) == 60

    with pytest.raises(ValueError, match=r"held_out must be a share in \[0, 1\), got 1"):
        ImageFolder(tmp_path, held_out=1)
    alone = tmp_path / "alone"
    draw(alone / "0.png", 4, 4)
    with pytest.raises(ValueError, match=r"held_out=1e-06 of 1 images in .*alone leaves none to hold out"):
        ImageFolder(alone, train=False, held_out=1e-6)


def test_one_image_at_least_is_held_out(tmp_path):
    """The least of its places is above a twentieth for most folders of a dozen images."""
    for i in range(12):
        draw(tmp_path / f"{i}.png", 4, 4)
    trained, held = (ImageFolder(tmp_path, train=train, held_out=1e-6).paths for train in (True, False))
    assert len(held) == 1 and sorted([*trained, *held]) == sorted(tmp_path.iterdir())
    trained, held = (ImageFolder(tmp_path, train=train, held_out=1 - 1e-6).paths for train in (True, False))
    assert len(trained) == 1 and len(held) == 11


def test_sixteen_bits(tmp_path):
    ramp = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(ramp).save(tmp_path / name)
    for i in range(2):
        found = ImageFolder(tmp_path, 16, train=False)[i]
        assert torch.equal(found[1], torch.arange(256, dtype=torch.uint8).reshape(16, 16))
    (tmp_path / "wide").mkdir()
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "wide/a.tif")
    Image.fromarray(np.ones((4, 4), np.int32)).save(tmp_path / "wide/b.tif")
    with pytest.raises(ValueError, match=r"2 of 2 files .*a\.tif \(values of 32 bits.*save it with 8 or 16 bits"):
        ImageFolder(tmp_path / "wide")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(mode, tmp_path):
    white = Image.new("RGB", (20, 30), (255, 255, 255)).convert(mode)
    white.save(tmp_path / ("a.jpg" if mode in ("CMYK", "YCbCr") else "a.png"))
    found = ImageFolder(tmp_path, 8, train=False)[0]
    assert found.shape == (3, 8, 8) and found.min() >= 254


def test_palettes_with_transparency(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert ImageFolder(tmp_path, 8, train=False)[0][:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("width, height", [(1, 1), (1, 3000), (3000, 1), (2, 3)])
def test_tiny_and_long_images(width, height, tmp_path):
    draw(tmp_path / "a.png", width, height)
    assert all(ImageFolder(tmp_path, 32, train=train)[0].shape == (3, 32, 32) for train in (True, False))


def test_a_file_that_is_damaged_behind_its_header_is_named(tmp_path):
    draw(tmp_path / "a.png", 64, 64)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image: .*Mend or remove it"):
        ImageFolder(tmp_path)[0]


def test_only_the_files_of_its_part_are_opened(tmp_path, monkeypatch):
    for i in range(20):
        draw(tmp_path / f"{i}.png", 4, 4)
    opened, original = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(path) or original(path))
    for train in (True, False):
        ImageFolder(tmp_path, train=train, held_out=0.3)
    assert sorted(opened) == sorted(tmp_path.iterdir())


def test_linked_folders_are_searched_once(tmp_path):
    draw(tmp_path / "elsewhere/a.png", 4, 4)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere/round").symlink_to(tmp_path / "images", target_is_directory=True)
    assert ImageFolder(tmp_path / "images").paths == [tmp_path / "images/linked/a.png"]
