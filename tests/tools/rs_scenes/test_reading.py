"""TIFF files with bands, and pairs of them."""

import sys

import numpy as np
import pytest
import tifffile
from rs_scenes.reading import names_of_pairs, need_tifffile, read_bands, read_pair, read_place, write_bands


def random(*shape, dtype=np.float32):
    return (100 * np.random.default_rng(0).random(shape)).astype(dtype)


@pytest.mark.parametrize(
    "bands, dtype", [(1, np.uint8), (2, np.float32), (3, np.uint8), (3, np.float64), (12, np.int16)]
)
def test_written_files_are_read_back(bands, dtype, tmp_path):
    picture = random(5, 7, bands, dtype=dtype)
    write_bands(tmp_path / "a.tif", picture)
    found = read_bands(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, picture)
    assert found.dtype == dtype


def test_planes_come_last(tmp_path):
    picture = random(4, 5, 7)
    tifffile.imwrite(tmp_path / "a.tif", picture, planarconfig="separate", photometric="minisblack")
    np.testing.assert_array_equal(read_bands(tmp_path / "a.tif"), np.moveaxis(picture, 0, -1))


def test_broken_and_empty_pictures_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.tif is not there"):
        read_bands(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.tif cannot be read as TIFF"):
        read_bands(tmp_path / "text.tif")
    for value, message in ((np.nan, "band 1 holds no finite number"), (3.0, "band 1 is 3.0 everywhere")):
        picture = random(4, 4, 2)
        picture[..., 1] = value
        write_bands(tmp_path / "a.tif", picture)
        with pytest.raises(ValueError, match=rf"a\.tif: {message}"):
            read_bands(tmp_path / "a.tif")
    write_bands(tmp_path / "labels.tif", np.full((4, 4, 1), 7, np.uint8))  # all of one class
    assert read_bands(tmp_path / "labels.tif").max() == 7


def geotiff(path, picture, east):
    tags = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, east, 5e6, 0.0), True)]
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, picture, photometric="minisblack", planarconfig="contig", extratags=tags)


def test_pairs_are_of_one_place_and_size(tmp_path):
    geotiff(tmp_path / "s1" / "a.tif", random(6, 6, 2), 700000)
    geotiff(tmp_path / "s2" / "a.tif", random(6, 6, 4), 700000)
    assert names_of_pairs(tmp_path, ("s1", "s2")) == ("a.tif",)
    pair = read_pair(tmp_path, ("s2", "s1"), "a.tif")
    assert {name: picture.shape for name, picture in pair.items()} == {"s2": (6, 6, 4), "s1": (6, 6, 2)}
    assert read_place(tmp_path / "s1" / "a.tif") == (0, 0, 0, 700000, 5e6, 0, 10, 10, 0)
    geotiff(tmp_path / "s2" / "a.tif", random(6, 6, 4), 700010)
    with pytest.raises(ValueError, match="say that they are of different places"):
        read_pair(tmp_path, ("s1", "s2"), "a.tif")
    write_bands(tmp_path / "s2" / "a.tif", random(6, 6, 4))  # which says nothing about its place
    assert read_place(tmp_path / "s2" / "a.tif") is None
    read_pair(tmp_path, ("s1", "s2"), "a.tif")
    write_bands(tmp_path / "s2" / "a.tif", random(6, 5, 4))
    with pytest.raises(ValueError, match=r"one size, but .*s1/a.tif is \(6, 6\) and .*s2/a.tif is \(6, 5\)"):
        read_pair(tmp_path, ("s1", "s2"), "a.tif")


def test_missing_partners_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="s1 is not there"):
        names_of_pairs(tmp_path, ("s1", "s2"))
    for name in ("s1", "s2"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match=r"s1 holds no \.tif file"):
        names_of_pairs(tmp_path, ("s1", "s2"))
    write_bands(tmp_path / "s1" / "a.tif", random(4, 4, 2))
    write_bands(tmp_path / "s1" / "b.tif", random(4, 4, 2))
    write_bands(tmp_path / "s2" / "a.tif", random(4, 4, 2))
    with pytest.raises(FileNotFoundError, match=r"b\.tif has no partner in .*s2"):
        names_of_pairs(tmp_path, ("s1", "s2"))


def test_without_tifffile_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tifffile"):
        need_tifffile()
