"""tools/predict.py as a user runs it, beside the frameworks' own functions."""

import json
import shutil

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from backbones.openmmlab import read_safely

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks


@pytest.fixture
def folder(digit_scenes, tmp_path):
    """Two scenes of 64 px, one of other size, two files of one name, and two that are broken."""
    made = tmp_path / "scenes"
    (made / "deep").mkdir(parents=True)
    for i, name in enumerate(("a.png", "deep/b.png")):
        shutil.copy(digit_scenes / f"val/{i:05d}.png", made / name)
    image = cv2.imread(str(digit_scenes / "val/00002.png"))
    cv2.imwrite(str(made / "deep/b.bmp"), image)
    cv2.imwrite(str(made / "large.png"), cv2.resize(image, (120, 90)))
    (made / "broken.jpg").write_text("hello")
    for name in ("tiny1.png", "tiny2.png"):
        cv2.imwrite(str(made / name), image[:20, :20])
    (made / "notes.txt").touch()
    return made


def recorded(out):
    return json.loads((out / "predictions.json").read_text())


def test_detector(folder, predict, with_model, trained, tmp_path):
    from mmdet.apis import init_detector

    out = tmp_path / "out"
    status, said = predict(folder, *with_model("detection"), "--out", out, "--batch-size", 3, "--score", 0.05)
    assert status == 1 and said.startswith("1 of 7 files were skipped")
    record = recorded(out)
    assert record["skipped"] == [{"file_name": "broken.jpg", "reason": "no image can be read from it"}]
    pictures = {image["file_name"]: image["picture"] for image in record["images"]}
    assert pictures["deep/b.png"] == "pictures/deep/b.png.jpg" and pictures["deep/b.bmp"] == "pictures/deep/b.bmp.jpg"
    for image in record["images"]:
        assert cv2.imread(str(out / image["picture"])).shape == (image["height"], image["width"], 3)
    assert not list(out.rglob("*.part*")) and not (out / "labels").exists()

    read_safely()
    model = init_detector(str(trained["detection"][0]), str(trained["detection"][1]), device="cpu")
    compare_with_mmdet(out, record, folder, model, scores=1e-3)  # sums of batches are rounded otherwise
    alone = tmp_path / "alone"
    predict(folder, *with_model("detection"), "--out", alone, "--batch-size", 1, "--score", 0.05)
    compare_with_mmdet(alone, recorded(alone), folder, model, scores=1e-6)


def compare_with_mmdet(out, record, folder, model, scores):
    """Boxes, scores, labels and masks are those of mmdet's own inference, image by image."""
    from mmdet.apis import inference_detector

    coco = COCO(out / "predictions.json")
    assert len(coco.loadRes(record["annotations"]).anns) == len(record["annotations"]) > 0
    for image in record["images"]:
        expected = inference_detector(model, str(folder / image["file_name"])).pred_instances
        found = coco.loadAnns(coco.getAnnIds(image["id"]))
        corners = [(x, y, x + w, y + h) for x, y, w, h in (a["bbox"] for a in found)]
        np.testing.assert_allclose(np.reshape(corners, (-1, 4)), expected.bboxes, atol=2e-2)
        np.testing.assert_allclose([a["score"] for a in found], expected.scores, atol=scores)
        assert [a["category_id"] for a in found] == (expected.labels + 1).tolist()
        masks = [coco_mask.decode(a["segmentation"]) for a in found]
        assert np.mean(np.array(masks) == expected.masks.numpy()) > 0.999 if masks else len(expected) == 0


def test_segmentor(folder, predict, with_model, trained, tmp_path):
    from mmseg.apis import inference_model, init_model

    out = tmp_path / "out"
    status, said = predict(folder, *with_model("segmentation"), "--out", out, "--batch-size", 2)
    assert status == 1 and said.startswith("3 of 7 files were skipped")
    record = recorded(out)
    assert {s["file_name"]: "at least 32 px" in s["reason"] for s in record["skipped"]} == {
        "broken.jpg": False,
        "tiny1.png": True,
        "tiny2.png": True,
    }
    assert [c["id"] for c in record["categories"]] == list(range(11)) and record["annotations"] == []
    model = init_model(str(trained["segmentation"][0]), str(trained["segmentation"][1]), device="cpu")
    for image in record["images"]:
        expected = inference_model(model, str(folder / image["file_name"])).pred_sem_seg.data[0]
        found = cv2.imread(str(out / image["labels"]), cv2.IMREAD_UNCHANGED)
        assert (found == expected.numpy()).mean() > 0.999
        assert cv2.imread(str(out / image["picture"])).shape[:2] == found.shape


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_video_and_tiles(task, predict, with_model, tmp_path):
    film = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (96, 64))
    for i in range(3):
        film.write(np.random.default_rng(i).integers(0, 255, (64, 96, 3), np.uint8))
    film.release()
    out = tmp_path / "out"
    tiles = ["--tile", 64, "--overlap", 32, "--batch-size", 2]
    status, said = predict(tmp_path / "clip.avi", *with_model(task), "--out", out, *tiles)
    assert status == 0 and said == f"3 images predicted: {out}"
    record = recorded(out)
    assert [(i["frame"], i["picture"]) for i in record["images"]] == [(n, "pictures/clip.avi.mp4") for n in range(3)]
    assert record["info"]["tile"] == {"size": 64, "overlap": 32}
    drawn = cv2.VideoCapture(str(out / "pictures/clip.avi.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 3 and drawn.get(cv2.CAP_PROP_FPS) == 5
    assert len(list((out / "pictures").iterdir())) == 1
    if task == "segmentation":
        assert sorted(p.name for p in (out / "labels/clip.avi").iterdir()) == [f"{n:06d}.png" for n in range(3)]


def test_nothing_found_is_a_result(digit_scenes, predict, with_model, tmp_path):
    out = tmp_path / "out"
    none = ["--cfg-options", "model.test_cfg.rcnn.score_thr=1.1"]
    status, _ = predict(digit_scenes / "val/00000.png", *with_model("detection"), "--out", out, *none)
    assert status == 0 and recorded(out)["annotations"] == [] and len(recorded(out)["images"]) == 1
    drawn = cv2.imread(str(out / "pictures/00000.jpg"))
    assert np.abs(drawn.astype(int) - cv2.imread(str(digit_scenes / "val/00000.png"))).mean() < 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/*.png"], "no image or video matches nowhere/*.png"),
        (["empty"], "no image or video in empty or its folders"),
        (["x.png", "--tile", 16], "--tile must be 32 or more, got 16"),
        (["x.png", "--overlap", 16], "--overlap is that of tiles: it needs --tile"),
        (["x.png", "--tile", 64, "--overlap", 64], "--overlap must lie between 0 and --tile, got 64"),
        (["x.png", "--batch-size", 0], "--batch-size must be 1 or more, got 0"),
        (["x.png", "--score", 2], "--score must lie between 0 and 1, got 2.0"),
        (["x.png", "--out", "."], "--out must be a new or empty folder"),
        (["x.png", "--cfg-options", "modle.x=1"], "did you mean model?"),
        (["x.png", "--checkpoint", "OTHER"], "weights.pth is not a checkpoint of this config's model"),
    ],
)
def test_mistakes_get_one_clear_line(arguments, message, predict, with_model, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").touch()
    (tmp_path / "empty").mkdir()
    other = trained["segmentation"][1]
    arguments = [other if a == "OTHER" else a for a in arguments]
    status, said = predict(*with_model("detection"), *arguments)
    assert status == 2 and message in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "x.png"]
