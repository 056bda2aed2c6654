"""Pascal VOC's XML files, and folders of them as COCO's records."""

import pytest
from data_sets.voc import Annotation, Box, read_voc
from data_sets.voc_folder import convert, find_splits
from PIL import Image

OBJECT = "<object><name>{name}</name><difficult>{hard}</difficult><bndbox>{box}</bndbox></object>"


def xml(*boxes, size=(40, 30)):
    objects = ""
    for name, hard, *edges in boxes:
        tags = zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)
        objects += OBJECT.format(name=name, hard=hard, box="".join(f"<{t}>{v}</{t}>" for t, v in tags))
    width, height = size
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"


@pytest.fixture
def folder(tmp_path):
    """Three images in two splits, the last without a box."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    for name, text in (("a", xml(("cat", 0, 1, 1, 40, 30))), ("b", xml(("ant", 1, 3, 4, 3, 4))), ("c", xml())):
        (tmp_path / f"Annotations/{name}.xml").write_text(text)
        Image.new("RGB", (40, 30)).save(tmp_path / f"JPEGImages/{name}.jpg")
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nb 1\n\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("c\n")
    return tmp_path


def test_pixels_from_1_to_the_last_become_edges(folder):
    assert read_voc(folder / "Annotations/a.xml") == Annotation(40, 30, (Box("cat", 0, 0, 40, 30),))
    assert read_voc(folder / "Annotations/b.xml").boxes == (Box("ant", 2, 3, 3, 4, difficult=True),)
    assert read_voc(folder / "Annotations/c.xml").boxes == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><size>", "is not an XML file"),
        ("", "is not an XML file"),
        ("<annotation/>", "<annotation> has no <size><width>"),
        (xml(("cat", 0, "x", 1, 2, 3)), "<bndbox><xmin> must be a number, got 'x'"),
        (xml(("", 0, 1, 1, 2, 3)), "<object> has no <name>"),
        (xml(("cat", 0, 1, 1, 2, "")), "<object> has no <bndbox><ymax>"),
    ],
)
def test_broken_files_say_what_is_broken(tmp_path, text, message):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_voc(tmp_path / "a.xml")
    assert "a.xml" in str(error.value)


def test_a_folder_becomes_a_record_for_each_split(folder):
    assert find_splits(folder) == ["train", "val"]
    records = convert(folder, ["train", "val"])
    categories = [{"id": 1, "name": "ant"}, {"id": 2, "name": "cat"}]
    assert records["val"] == {
        "images": [{"id": 1, "file_name": "c.jpg", "width": 40, "height": 30}],
        "annotations": [],
        "categories": categories,
    }
    assert records["train"]["categories"] == categories
    assert [i["file_name"] for i in records["train"]["images"]] == ["a.jpg", "b.jpg"]
    cat = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 40, 30], "area": 1200, "iscrowd": 0}
    ant = {"id": 2, "image_id": 2, "category_id": 1, "bbox": [2, 3, 1, 1], "area": 1, "iscrowd": 1}
    assert records["train"]["annotations"] == [cat, ant]


def test_all_broken_files_are_named(folder):
    (folder / "Annotations/a.xml").write_text("<")
    (folder / "JPEGImages/b.jpg").unlink()
    Image.new("RGB", (30, 40)).save(folder / "JPEGImages/c.jpg")
    with pytest.raises(ValueError) as error:
        convert(folder, ["train", "val"])
    first, second, third = str(error.value).splitlines()
    assert "a.xml is not an XML file" in first and "b.jpg is not there" in second
    assert "c.jpg is 30 x 40 px, and its XML file says 40 x 30" in third


def test_what_is_not_laid_out_so(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such list: .*test.txt; there are train, val"):
        convert(folder, ["test"])
    (tmp_path / "other").mkdir()
    with pytest.raises(FileNotFoundError, match="it has no folder JPEGImages"):
        find_splits(tmp_path / "other")


def test_the_command(folder, tmp_path, monkeypatch, capsys, root):
    import json
    import runpy
    import sys

    monkeypatch.setattr(sys, "path", [str(root / "tools"), *sys.path])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert_voc.py", *map(str, arguments)])
        runpy.run_path(str(root / "tools/convert_voc.py"), run_name="__main__")

    run(folder, "--splits", "train", "--out", tmp_path / "out")
    assert "train.json: 2 images, 2 boxes" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/train.json").read_text()) == convert(folder, ["train"])["train"]
    (folder / "Annotations/c.xml").write_text("<")
    with pytest.raises(SystemExit, match="2"):
        run(folder)
    assert "c.xml is not an XML file" in capsys.readouterr().err and not (folder / "train.json").exists()
