"""Tree crowns: splits that share no pixel, boxes that are where the package's are, and files that are whole."""

import json
import runpy
import sys

import cv2
import numpy as np
import pytest
from data_sets import tree_crowns as module
from data_sets.tree_crowns import FOREST, SPLITS, Tile, boxes_in, find_photographs, make_tree_crowns, tiles
from data_sets.voc import Box, read_voc

#: Tiles, boxes in them, and tiles without a box.
COUNTS = {"train": (120, 507, 27), "val": (36, 165, 0), "test": (42, 313, 0), "transfer": (8, 102, 0)}


def test_the_package_has_951_boxes_and_is_not_imported():
    folder = find_photographs()
    names = {name for names in SPLITS.values() for name in names}
    assert sum(len(read_voc(folder / f"{name}.xml").boxes) for name in names) == 951
    assert "deepforest" not in sys.modules


@pytest.mark.parametrize("split", COUNTS)
def test_counts(split, tree_crowns):
    record = json.loads((tree_crowns / f"{split}.json").read_text())
    with_box = {a["image_id"] for a in record["annotations"]}
    images, boxes = record["images"], record["annotations"]
    assert (len(images), len(boxes), len(images) - len(with_box)) == COUNTS[split]
    assert record["categories"] == [{"id": 1, "name": "tree"}]
    assert sorted(p.name for p in (tree_crowns / split).iterdir()) == sorted(i["file_name"] for i in images)


def place(file_name):
    top, left = file_name.removesuffix(".png").split("_")[-2:]
    return int(left), int(top)


def test_tiles_are_parts_of_the_photograph_and_train_and_val_share_no_pixel(tree_crowns):
    photograph = cv2.imread(str(find_photographs() / f"{FOREST}.png"))
    taken = np.zeros(photograph.shape[:2], np.uint8)
    for split in ("train", "val"):
        for file in (tree_crowns / split).iterdir():
            left, top = place(file.name)
            tile = cv2.imread(str(file))
            height, width = tile.shape[:2]
            assert np.array_equal(tile, photograph[top : top + height, left : left + width])
            taken[top : top + height, left : left + width] += 1
    assert taken.min() == taken.max() == 1


def test_boxes_are_inside_and_come_back_to_those_of_the_package(tree_crowns):
    record = json.loads((tree_crowns / "test.json").read_text())
    of = {image["id"]: image for image in record["images"]}
    (name,) = SPLITS["test"]
    whole = {box[1:5] for box in read_voc(find_photographs() / f"{name}.xml").boxes}
    uncut = set()
    for annotation in record["annotations"]:
        image = of[annotation["image_id"]]
        x, y, width, height = annotation["bbox"]
        assert x >= 0 and y >= 0 and x + width <= image["width"] and y + height <= image["height"]
        assert annotation["area"] == width * height > 0
        if x > 0 and y > 0 and x + width < image["width"] and y + height < image["height"]:
            left, top = place(image["file_name"])
            uncut.add((x + left, y + top, x + left + width, y + top + height))
    assert len(uncut) > 100 and uncut <= whole


def test_the_last_tiles_are_what_is_left():
    rows = tiles(400, 270)
    assert rows == [[Tile(0, 0, 192, 192), Tile(192, 0, 384, 192)], [Tile(0, 192, 192, 270), Tile(192, 192, 384, 270)]]


def test_a_cut_box_belongs_to_every_tile_with_three_tenths_of_it():
    box = Box("Dead", 162, 10, 202, 30)  # three quarters in the left tile
    left, right = Tile(0, 0, 192, 192), Tile(192, 0, 384, 192)
    assert boxes_in(left, (box,)) == (Box("tree", 162, 10, 192, 30),)
    assert boxes_in(right, (box,)) == ()
    assert boxes_in(right, (box._replace(right=222),)) == (Box("tree", 0, 10, 30, 30),)
    assert boxes_in(left, (box._replace(right=262),)) == (Box("tree", 162, 10, 192, 30),)
    assert boxes_in(left, (box._replace(right=263),)) == ()


def test_it_is_written_once_and_never_over_other_files(tree_crowns, tmp_path):
    assert not make_tree_crowns(tree_crowns)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not the tree-crowns data set"):
        make_tree_crowns(tmp_path)


def test_the_command(root, tree_crowns, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "path", [str(root / "tools"), *sys.path])

    def run(out):
        monkeypatch.setattr(sys, "argv", ["make_tree_crowns.py", "--out", str(out)])
        runpy.run_path(str(root / "tools/make_tree_crowns.py"), run_name="__main__")

    run(tree_crowns)
    assert capsys.readouterr().out == f"{tree_crowns}: already there\n"
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path)
    assert "is not the tree-crowns data set; move it away" in capsys.readouterr().err


def test_without_the_package_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps deepforest"):
        make_tree_crowns(tmp_path / "x")
    assert not list(tmp_path.iterdir())
