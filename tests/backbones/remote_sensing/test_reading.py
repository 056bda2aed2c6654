"""Files with bands: what is read, selected and refused."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from backbones.remote_sensing import BandFile, ModalitySpec, read_bands, read_header, read_modality, read_pair
from backbones.remote_sensing.reading import check_pair, need_tifffile

S1 = ModalitySpec("sar", ("VV", "VH"), "dB", mean=(-11.0, -17.0), std=5.0, clip=(-30.0, 5.0))
RGB = ModalitySpec("optical", ("R", "G", "B"), "uint8", mean=100.0, std=50.0)
COUNTS = ModalitySpec("optical", ("B4", "B3", "B2"), "counts", mean=1000.0, std=800.0)
S2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")


def uniform(*shape, low=0.0, high=100.0, dtype=np.float32):
    return np.random.default_rng(0).uniform(low, high, shape).astype(dtype)


def tiff(path, bands, names=None, place=None, planes=True, keys=(), **options):
    """A TIFF file of (C, H, W), with GDAL's tags."""
    tags = []
    if names:
        items = [f'<Item name="DESCRIPTION" sample="{i}" role="description">{n}</Item>' for i, n in enumerate(names)]
        tags.append((42112, 2, 0, "<GDALMetadata>" + "".join(items) + "</GDALMetadata>", True))
    if place:
        tags += [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, *place, 0.0), True)]
    if keys:
        directory = (1, 1, 0, len(keys), *(number for key in keys for number in key))
        tags.append((34735, 3, len(directory), directory, True))
    options = {"photometric": "minisblack", **options}
    if len(bands) == 1:
        tifffile.imwrite(path, bands[0], extratags=tags, **options)
    elif planes:
        tifffile.imwrite(path, bands, planarconfig="separate", extratags=tags, **options)
    else:
        tifffile.imwrite(path, np.moveaxis(bands, 0, -1), planarconfig="contig", extratags=tags, **options)
    return path


@pytest.mark.parametrize("planes", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_tiff_in_its_own_type_with_names_and_place(tmp_path, planes, dtype):
    bands = uniform(3, 5, 7, dtype=dtype)
    path = tiff(tmp_path / "a.tif", bands, ("B2", "B3 &amp; 4", "VV"), (7e5, 5e6), planes)
    found, names = read_bands(path)
    np.testing.assert_array_equal(found, bands)
    assert found.dtype == dtype and names == ("B2", "B3 & 4", "VV")
    header = read_header(path)
    assert (header.bands, header.size, header.place) == (3, (5, 7), (0, 0, 0, 7e5, 5e6, 0, 10, 10, 0))
    assert not header.colours


def test_pictures_and_arrays(tmp_path):
    colours = uniform(4, 6, 3, dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    found, names = read_bands(tmp_path / "a.png")
    np.testing.assert_array_equal(found, np.moveaxis(colours, -1, 0))
    assert names == ("R", "G", "B") and read_header(tmp_path / "a.png").colours
    deep = uniform(4, 6, high=60000, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "b.png")  # 16 bits of grey stay 16 bits
    found, names = read_bands(tmp_path / "b.png")
    np.testing.assert_array_equal(found[0], deep)
    assert names is None and found.dtype == np.uint16
    for shape in ((2, 4, 6), (4, 6)):
        values = uniform(*shape, dtype=np.float64)
        np.save(tmp_path / "c.npy", values)
        found, names = read_bands(tmp_path / "c.npy")
        np.testing.assert_array_equal(found, values.reshape(-1, 4, 6))
        assert names is None and read_header(tmp_path / "c.npy").size == (4, 6)


def test_a_turned_photograph_has_one_size(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(uniform(40, 60, 3, dtype=np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert read_header(tmp_path / "a.jpg").size == read_bands(tmp_path / "a.jpg")[0].shape[1:] == (60, 40)


def test_palettes_and_alpha(tmp_path):
    image = Image.fromarray(uniform(8, 8, 3, dtype=np.uint8))
    image.quantize(16).save(tmp_path / "a.png")
    assert read_bands(tmp_path / "a.png")[0].shape == (3, 8, 8)
    image.putalpha(Image.fromarray(np.full((8, 8), 255, np.uint8)))
    image.save(tmp_path / "b.png")
    picture = read_modality(tmp_path / "b.png", RGB)  # alpha, the same everywhere, is not selected
    np.testing.assert_array_equal(picture, np.moveaxis(np.asarray(image)[..., :3], -1, 0))


def test_bands_are_selected_by_name(tmp_path):
    bands = uniform(12, 4, 4, high=4000, dtype=np.int16)
    named = read_modality(tiff(tmp_path / "a.tif", bands, S2), COUNTS)
    told = read_modality(tiff(tmp_path / "b.tif", bands), COUNTS, S2)
    over = read_modality(tiff(tmp_path / "c.tif", bands, S2[::-1]), COUNTS, S2)  # what the caller says goes first
    for found in (named, told, over):
        np.testing.assert_array_equal(found, bands[[3, 2, 1]])
        assert found.dtype == np.float32
    Image.fromarray(np.moveaxis(bands[:3] >> 4, 0, -1).astype(np.uint8)).save(tmp_path / "d.png")
    swapped = ModalitySpec("optical", ("B", "G", "R"), "uint8", mean=100.0, std=50.0)
    np.testing.assert_array_equal(read_modality(tmp_path / "d.png", swapped), (bands[[2, 1, 0]] >> 4))
    words = ModalitySpec("optical", ("red", "green", "blue"), "uint8", mean=100.0, std=50.0)
    np.testing.assert_array_equal(read_modality(tmp_path / "d.png", words), (bands[:3] >> 4))


@pytest.mark.parametrize(
    "bands, names, spec, given, message",
    [
        (
            uniform(3, 4, 4),
            None,
            S1,
            None,
            r"3 bands and does not name them, and modality 'sar' has 2 bands \(VV, VH\)",
        ),
        (uniform(2, 4, 4), ("HH", "HV"), S1, None, r"has the bands HH, HV and no VV, VH: modality 'sar'"),
        (uniform(2, 4, 4), None, S1, ("VV",), r"has 2 bands: bands must be as many different names, got \('VV',\)"),
        (uniform(2, 4, 4), None, S1, ("VV", "VV"), "as many different names"),
        (uniform(2, 4, 4, low=0, high=1), None, S1, None, r"a\.tif: band 'VV' of modality 'sar' .*linear power"),
        (uniform(2, 4, 4, low=-9999, high=-9998), None, S1, None, r"a\.tif: band 'VV' .*range of dB, -100 to 60"),
        (uniform(3, 4, 4, high=9000, dtype=np.uint16), None, RGB, None, "range of uint8, 0 to 255; are these counts"),
        (uniform(3, 4, 4, high=1), None, COUNTS, None, "fractions, and small ones for the range of counts"),
        (np.full((2, 4, 4), -9.0), None, S1, None, r"band 'VV' of modality 'sar' \(dB, -100 to 60\) is -9 everywhere"),
        (np.full((2, 4, 4), np.nan), None, S1, None, r"band 'VV' of .* \(dB, -100 to 60\) holds no finite number"),
        (np.where(np.eye(4) > 0, np.nan, uniform(2, 4, 4) - 50), None, S1, None, "all must be finite"),
    ],
)
def test_what_is_no_tile_of_the_modality(tmp_path, bands, names, spec, given, message):
    path = tiff(tmp_path / "a.tif", bands, names)
    with pytest.raises(ValueError, match=message) as caught:
        read_modality(path, spec, given)
    assert str(path) in str(caught.value)


def test_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.tif is not there"):
        read_bands(tmp_path / "none.tif")
    for name in ("text.tif", "text.png", "text.npy"):
        (tmp_path / name).write_text("no picture")
        with pytest.raises(ValueError, match=rf"{name} cannot be read as"):
            read_bands(tmp_path / name)
    with pytest.raises(ValueError, match=r"text\.gif is no file with bands: one of \.tif"):
        read_bands(tmp_path / "text.gif")
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npy cannot be read as \.npy: .*[Oo]bject"):
        read_bands(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros((2, 3), complex))
    with pytest.raises(ValueError, match=r"b\.npy must hold bands of numbers, got complex128"):
        read_bands(tmp_path / "b.npy")
    whole = tiff(tmp_path / "c.tif", uniform(2, 64, 64)).read_bytes()
    (tmp_path / "c.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"c\.tif cannot be read as TIFF"):
        read_bands(tmp_path / "c.tif")


def test_colours_of_16_bits_are_not_cut(tmp_path):
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "a.png"), uniform(4, 4, 3, high=60000, dtype=np.uint16))
    with pytest.raises(ValueError, match=r"colours of 16 bits would lose 8: save it as TIFF or \.npy"):
        read_bands(tmp_path / "a.png")


def test_empty_bands_but_not_maps_of_one_class(tmp_path):
    for value, message in ((np.nan, "band 1 holds no finite number"), (3.0, "band 1 is 3.0 everywhere")):
        bands = uniform(2, 4, 4)
        bands[1] = value
        with pytest.raises(ValueError, match=rf"a\.tif: {message}"):
            read_bands(tiff(tmp_path / "a.tif", bands))
    labels = tiff(tmp_path / "labels.tif", np.full((1, 4, 4), 7, np.uint8))
    assert read_bands(labels)[0].max() == 7


def test_pairs_are_of_one_place_and_size(tmp_path):
    optical = ModalitySpec("optical", ("B",), "counts", mean=50.0, std=30.0)
    radar = uniform(2, 6, 6, low=-30, high=0)
    paths = {
        "optical": tiff(tmp_path / "o.tif", uniform(1, 6, 6), place=(7e5, 5e6)),
        "sar": tiff(tmp_path / "s.tif", radar, place=(7e5, 5e6)),
    }
    pair = read_pair(paths, (optical, S1))
    assert {name: each.shape for name, each in pair.items()} == {"optical": (1, 6, 6), "sar": (2, 6, 6)}
    turned = read_pair(paths, (optical, S1), {"sar": ("VH", "VV")})
    np.testing.assert_array_equal(turned["sar"], radar[::-1])
    with pytest.raises(ValueError, match=r"modalities must be of \['optical'\], got \['sar'\]"):
        read_pair(paths, (optical,))
    tiff(tmp_path / "o.tif", uniform(1, 6, 6), place=(7e5, 5e6 - 20))
    with pytest.raises(ValueError, match="say that they are of different places, 2 px apart"):
        read_pair(paths, (optical, S1))
    tiff(tmp_path / "o.tif", uniform(1, 6, 6))  # which says nothing about its place
    read_pair(paths, (optical, S1))
    tiff(tmp_path / "o.tif", uniform(1, 6, 5))
    with pytest.raises(ValueError, match=r"one size, but .*o\.tif is 6 x 5 and .*s\.tif is 6 x 6"):
        read_pair(paths, (optical, S1))


def test_pairs_have_one_coordinate_system(tmp_path):
    radar = ModalitySpec("radar", ("B",), "counts", mean=50.0, std=30.0)
    optical = ModalitySpec("optical", ("B",), "counts", mean=50.0, std=30.0)

    def pair(first, second):
        for name, keys in (("optical", first), ("radar", second)):
            tiff(tmp_path / f"{name}.tif", uniform(1, 6, 6), place=(7e5, 5e6), keys=keys)
        return read_pair({name: tmp_path / f"{name}.tif" for name in ("optical", "radar")}, (optical, radar))

    north = ((1024, 0, 1, 1), (3072, 0, 1, 32632))
    own = ((1024, 0, 1, 1), (3072, 0, 1, 32767))  # one that the file describes itself
    degrees = ((1024, 0, 1, 2), (2048, 0, 1, 4326))
    pair(north, north), pair(north, own), pair(degrees, degrees), pair(north, ())
    assert [read_header(tmp_path / f"{name}.tif").epsg for name in ("optical", "radar")] == [32632, None]
    # a geographic system may stand beside that of the projection
    pair((*north, (2048, 0, 1, 4326)), north)
    with pytest.raises(ValueError, match=r"optical\.tif has EPSG:32632 and .*radar\.tif EPSG:32633"):
        pair(north, ((3072, 0, 1, 32633),))
    with pytest.raises(ValueError, match=r"EPSG:32632 and .* EPSG:4326"):
        pair(north, degrees)


def at(place, size=(100, 50)):
    return BandFile(Path("a.tif"), 1, size, place=place)


@pytest.mark.parametrize(
    "place, apart",
    [
        ((0, 0, 0, 11.0, 48.0, 0, 9e-5, 9e-5, 0), 0),
        ((0, 0, 0, 11.0, 48.0 + 4.5e-5, 0, 9e-5, 9e-5, 0), 0),  # centres or corners of pixels
        ((10, 20, 0, 11.0 + 9e-4, 48.0 - 18e-4, 0, 9e-5, 9e-5, 0), 0),  # another tie point
        ((0, 0, 0, 11.0 + 9e-4, 48.0, 0, 9e-5, 9e-5, 0), 10),  # in degrees, too
        ((0, 0, 0, 11.0, 48.0, 0, 18e-5, 18e-5, 0), 100),  # the same corner, and other pixels
    ],
)
def test_places_are_compared_in_pixels(place, apart):
    pair = [at((0, 0, 0, 11.0, 48.0, 0, 9e-5, 9e-5, 0)), at(place)]
    if not apart:
        check_pair(pair)
        return
    with pytest.raises(ValueError, match=f"different places, {apart} px apart"):
        check_pair(pair)


def test_a_value_that_is_not_finite_is_named_with_unit_and_range(tmp_path):
    radar = uniform(2, 6, 6, low=-30, high=0)
    radar[1, 2, 3] = np.nan
    path = tiff(tmp_path / "a.tif", radar)
    with pytest.raises(ValueError, match=r"a\.tif: band 'VH' .* finite, in the range of dB, -100 to 60"):
        read_modality(path, S1)


def test_without_tifffile_it_says_what_to_install(tmp_path, monkeypatch):
    path = tiff(tmp_path / "a.tif", uniform(2, 4, 4))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tifffile"):
        need_tifffile()
    with pytest.raises(ModuleNotFoundError, match="pip install tifffile"):
        read_bands(path)
