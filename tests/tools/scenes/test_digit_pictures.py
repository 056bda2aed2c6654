"""Pictures of one digit each."""

import cv2
import pytest
from scenes.digit_pictures import SCENE, write_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A few pictures."""
    out = tmp_path_factory.mktemp("data") / "pictures"
    write_pictures(out, train=3, val=6)
    return out


def test_pictures_show_one_white_digit_and_are_written_once(pictures):
    assert {s: len(list((pictures / s).rglob("*.png"))) for s in ("train", "val")} == {"train": 3, "val": 6}
    assert sorted(p.name for p in (pictures / "train").iterdir()) == list("0123456789")
    for path in pictures.rglob("*.png"):
        image = cv2.imread(str(path))
        assert image.shape[0] == image.shape[1] and 90 < image.shape[0] <= SCENE
        assert 0.02 < (image == 255).all(2).mean() < 0.5 and image[(image < 255).any(2)].max() <= 0.35 * 255
    before = {path: path.stat().st_mtime_ns for path in pictures.rglob("*")}
    write_pictures(pictures, train=3, val=6)
    assert {path: path.stat().st_mtime_ns for path in pictures.rglob("*")} == before
