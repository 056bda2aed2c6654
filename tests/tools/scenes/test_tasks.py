"""The small image-classification tasks are reproducible, their splits disjoint, their labels right."""

import numpy as np
import pytest
from scenes.tasks import given, registry, rendered, tiles
from scenes.tasks.task import SPLITS


@pytest.mark.parametrize("name", registry.TASKS)
def test_splits_are_reproducible_and_disjoint(name):
    task = registry.TASKS[name]
    once, again = ({s: task.make(s, 30) for s in SPLITS} for _ in range(2))
    seen = set()
    for split in SPLITS:
        images, labels = once[split].images, once[split].labels
        assert images.shape == (30, 64, 64, 3) and images.dtype == np.uint8
        assert labels.min() >= 0 and labels.max() < task.classes
        np.testing.assert_array_equal(images, again[split].images)
        np.testing.assert_array_equal(labels, again[split].labels)
        if name != "faces":  # of its non-faces, some are plain black
            own = {image.tobytes() for image in images}
            assert not own & seen
            seen |= own


def test_given_pictures_are_in_one_split_each():
    pictures = np.ones((200, 25, 25)) * np.linspace(0, 1, 200)[:, None, None]
    parts = [given._given(pictures, np.arange(200), given.FACE_COUNTS, split) for split in SPLITS]
    assert [len(p.labels) for p in parts] == list(given.FACE_COUNTS.values())
    assert sorted(np.concatenate([p.labels for p in parts])) == list(range(200))
    for part in parts:  # image and label belong together
        np.testing.assert_allclose(part.images[:, 0, 0, 0], 255 * part.labels / 199, atol=1)


@pytest.mark.parametrize("sizes", [(303, 384), (512, 512), (300, 451)])
def test_no_pixel_of_a_photograph_is_in_two_splits(sizes):
    parts = tiles.split_tiles(*sizes, seed=3)
    owners = np.zeros(sizes, int)
    for corners in parts.values():
        assert corners
        for y, x in corners:
            tile = owners[y : y + tiles.TILE, x : x + tiles.TILE]
            assert tile.shape == (tiles.TILE, tiles.TILE)
            tile += 1
    assert owners.max() == 1


def test_crops_come_from_their_own_split(monkeypatch):
    marks = {"train": 10, "val": 20, "test": 30}
    monkeypatch.setattr(
        tiles,
        "tiles",
        lambda split: {n: [np.full((tiles.TILE,) * 2 + (3,), marks[split], np.uint8)] for n in tiles.NAMES},
    )
    for split, mark in marks.items():
        rng = np.random.default_rng(0)
        assert (tiles.crop(rng, split, "coins", (30, tiles.TILE)) == mark).all()
        scenes = [sampler(rng, split)[0] for sampler in (rendered.count, rendered.location, rendered.orientation)]
        for scene in scenes:  # objects cover less than half, and are unlike the background
            assert np.median(scene) == mark
    monkeypatch.setattr(rendered, "_finish", lambda image: image)
    assert set(np.unique(np.median(registry.unlabelled(16), axis=(1, 2, 3)))) == {marks["train"]}


def test_labels_say_what_is_drawn(monkeypatch):
    """On a plain background the objects can be measured independently of how they were drawn."""
    from skimage.measure import label, regionprops

    monkeypatch.setattr(rendered, "_background", lambda rng, split: np.zeros((64, 64, 3), np.float32))
    rng = np.random.default_rng(5)
    for _ in range(20):
        image, wanted = rendered.count(rng, "train")
        assert label(image.max(-1) > 80).max() == wanted + 1
        image, wanted = rendered.location(rng, "train")
        y, x = regionprops((image.max(-1) > 80).astype(int))[0].centroid
        assert np.hypot((wanted % 3 + 0.5) * 64 / 3 - x, (wanted // 3 + 0.5) * 64 / 3 - y) < 16
        image, wanted = rendered.orientation(rng, "train")
        angle = np.pi / 2 - regionprops((image.max(-1) > 80).astype(int))[0].orientation  # from x towards y
        away = (angle - wanted * np.pi / rendered.ORIENTATIONS + np.pi / 2) % np.pi - np.pi / 2
        assert abs(away) < 0.5 * np.pi / rendered.ORIENTATIONS
        image, wanted = rendered.distance(rng, "train")
        areas = [region.area for region in regionprops(label(image.max(-1) > 40))]
        depth = 16 / np.sqrt(max(areas) / np.pi)
        assert 1.5**wanted * 0.95 < depth < 1.5 ** (wanted + 1) * 1.05
