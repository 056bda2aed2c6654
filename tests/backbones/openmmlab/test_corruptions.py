"""Corruptions are the same for an image whatever runs before it, and leave other random numbers alone."""

import sys

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS
from skimage.data import astronaut

from backbones.openmmlab import CORRUPTIONS, CommonCorruption

NAMES = [name for names in CORRUPTIONS.values() for name in names]
IMAGE = np.ascontiguousarray(astronaut()[60:140:2, 160:280:2, ::-1])  # a face, 40 x 60, BGR


def corrupted(name, severity=3, image=IMAGE, **results):
    return CommonCorruption(name, severity)({"img": image.copy(), **(results or {"img_id": 5})})["img"]


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    """Compiling glass_blur's loop takes longer than all the rest."""
    from imagecorruptions import corruptions

    loop = corruptions._shuffle_pixels_njit_glass_blur
    monkeypatch.setattr(corruptions, "_shuffle_pixels_njit_glass_blur", loop.py_func)


def test_they_are_the_packages_common_ones():
    from imagecorruptions import get_corruption_names

    assert [*get_corruption_names("common")] == NAMES and len(NAMES) == 15
    for group, names in CORRUPTIONS.items():
        assert [*get_corruption_names(group)] == [*names]


@pytest.mark.parametrize("name", NAMES)
def test_repeatable_and_hidden(name):
    np.random.seed(3)
    first = corrupted(name)
    drawn = np.random.random()
    np.random.seed(3)
    assert drawn == np.random.random()  # nothing was drawn from the global generator
    corrupted(name, img_id=6)
    assert (first == corrupted(name)).all()
    assert first.shape == IMAGE.shape and first.dtype == np.uint8 and (first != IMAGE).any()


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "glass_blur", "frost", "elastic_transform"])
def test_images_differ_by_id_or_else_by_name(name):
    assert (corrupted(name) != corrupted(name, img_id=6)).any()
    by_name = corrupted(name, img_path="/data/a/5.png")
    assert (by_name == corrupted(name, img_path="/elsewhere/5.png")).all()
    assert (by_name != corrupted(name, img_path="/data/a/6.png")).any()
    other = CommonCorruption(name, 3, seed=1)({"img": IMAGE, "img_id": 5})["img"]
    assert (other != corrupted(name)).any()


@pytest.mark.parametrize("name", ["gaussian_noise", "defocus_blur", "fog", "contrast", "jpeg_compression"])
def test_severity_grows(name):
    errors = [np.square(corrupted(name, severity) - IMAGE.astype(float)).mean() for severity in (1, 3, 5)]
    assert errors[0] < errors[1] < errors[2]


def test_channels_are_in_the_images_order():
    """Frost is bluish: what it makes of red depends on which channel is taken for red."""
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 2] = 200  # BGR
    assert (corrupted("frost", image=red) != corrupted("frost", image=red[..., ::-1])[..., ::-1]).any()
    as_rgb = CommonCorruption("frost", 3, "rgb")({"img": red[..., ::-1], "img_id": 5})["img"]
    assert (as_rgb[..., ::-1] == corrupted("frost", image=red)).all()


def test_in_a_pipeline():
    pipeline = Compose([{"type": "CommonCorruption", "name": "fog", "severity": 2}])
    results = pipeline({"img": IMAGE, "img_id": 5, "img_shape": (40, 60)})
    assert (results["img"] == corrupted("fog", 2)).all() and results["img_shape"] == (40, 60)
    assert repr(pipeline.transforms[0]) == "CommonCorruption(name='fog', severity=2)"


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_images(name):
    assert corrupted(name, 5, IMAGE[:32, :33]).shape == (32, 33, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rain"}, "name must be one of gaussian_noise, .*, got 'rain'"),
        ({"name": "speckle_noise"}, "got 'speckle_noise'"),  # of the package, but not one of the fifteen
        ({"name": "fog", "severity": 0}, "severity must be 1, 2, 3, 4 or 5, got 0"),
        ({"name": "fog", "severity": True}, "severity must be .*, got True"),
        ({"name": "fog", "channel_order": "gbr"}, "channel_order must be 'bgr' or 'rgb', got 'gbr'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build({"type": "CommonCorruption", **arguments})


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE[:31], "at least 32 x 32 px, got 31 x 60"),
        (IMAGE.astype(np.float32), r"uint8 \(H, W, 3\), as they are loaded, got float32 \(40, 60, 3\)"),
        (IMAGE[..., 0], r"got uint8 \(40, 60\)"),
    ],
)
def test_bad_images(image, message):
    with pytest.raises(ValueError, match=message):
        corrupted("fog", image=image)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(ImportError, match="needs the package imagecorruptions-imaug"):
        CommonCorruption("fog")
