"""tools/export.py and tools/predict.py --onnx: from a checkpoint over a file to the same predictions."""

import json
import re
import shutil

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from in_process import run
from small_dense import build, random_image, small_config

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks


def vheat():
    """UPerNet with a narrow vHeat, in windows that are not square."""
    backbone = {"_delete_": True, "type": "VHeat", "img_size": 64}
    backbone["arch"] = {"dims": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}
    windows = {"mode": "slide", "crop_size": (64, 48), "stride": (40, 32)}
    return small_config("upernet", backbone=backbone, test_cfg=windows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exports")


def written(folder, name, config):
    """Files of a config and of a random checkpoint of it."""
    model = build(config)
    config.custom_imports.imports.append("small_dense")
    config.dump(folder / f"{name}.py")
    meta = {"classes": tuple(f"class {i}" for i in range(11 if name == "segmentation" else 10))}
    torch.save({"state_dict": model.state_dict(), "meta": {"dataset_meta": meta}}, folder / f"{name}.pth")
    return model, folder / f"{name}.py", folder / f"{name}.pth", folder / f"{name}.onnx"


@pytest.fixture(scope="module")
def exported(folder):
    """Of each task: a model, its config, checkpoint and ONNX file."""
    files = {}
    for name, config in (("segmentation", vheat()), ("detection", small_config("mask-rcnn"))):
        _, file, checkpoint, out = files[name] = written(folder, name, config)
        assert run("export.py", file, checkpoint, "--out", out) == 0
    return files


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_the_segmentor_at_unseen_sizes(exported):
    from backbones.openmmlab.export.models import reference

    model, _, _, out = exported["segmentation"]
    for size in ((64, 64), (97, 50), (33, 210)):
        x = random_image(*size)
        (scores,) = session(out).run(None, {"image": x.numpy()})
        expected = reference(model, x)["scores"]
        assert scores.shape == (1, 11, *size)
        torch.testing.assert_close(torch.from_numpy(scores), expected, rtol=1e-3, atol=1e-3)


def test_the_detector_at_unseen_sizes(exported):
    from backbones.openmmlab.export.comparing import compare
    from backbones.openmmlab.export.models import reference

    model, _, _, out = exported["detection"]
    for size in ((64, 64), (97, 50), (33, 210)):
        x = random_image(*size)
        found = dict(
            zip(
                ("boxes", "scores", "labels", "masks"),
                map(torch.from_numpy, session(out).run(None, {"image": x.numpy()})),
                strict=True,
            )
        )
        assert compare(found, reference(model, x), size)[1] > 3


@pytest.fixture
def images(digit_scenes, tmp_path):
    made = tmp_path / "images"
    made.mkdir()
    for i in range(2):
        shutil.copy(digit_scenes / f"val/{i:05d}.png", made)
    cv2.imwrite(str(made / "wide.png"), cv2.resize(cv2.imread(str(digit_scenes / "val/00002.png")), (150, 70)))
    return made


@pytest.mark.parametrize("tiles", [[], ["--tile", 48, "--overlap", 16]])
def test_the_detectors_file_predicts_what_the_checkpoint_does(exported, images, tmp_path, tiles):
    _, config, checkpoint, out = exported["detection"]
    names = [["--onnx", out], ["--config", config, "--checkpoint", checkpoint]]
    records = []
    for i, arguments in enumerate(names):
        assert run("predict.py", images, *arguments, "--out", tmp_path / str(i), *tiles) == 0
        records.append(json.loads((tmp_path / f"{i}/predictions.json").read_text()))
    ours, theirs = (record["annotations"] for record in records)
    assert len(ours) == len(theirs) > 10
    assert records[0]["images"] == records[1]["images"] and records[0]["categories"] == records[1]["categories"]
    assert records[0]["info"]["onnx"] == "detection.onnx"
    alike = [
        a["category_id"] == b["category_id"] and np.allclose(a["bbox"], b["bbox"], atol=0.1)
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert np.mean(alike) > 0.97
    same = [a["segmentation"] == b["segmentation"] for a, b in zip(ours, theirs, strict=True)]
    assert np.mean(same) > 0.9


@pytest.mark.parametrize("tiles", [[], ["--tile", 56, "--overlap", 16]])
def test_the_segmentors_file_predicts_what_the_checkpoint_does(exported, images, tmp_path, tiles):
    _, config, checkpoint, out = exported["segmentation"]
    names = [["--onnx", out], ["--config", config, "--checkpoint", checkpoint]]
    for i, arguments in enumerate(names):
        assert run("predict.py", images, *arguments, "--out", tmp_path / str(i), *tiles) == 0
    for name in ("00000", "00001", "wide"):
        ours, theirs = (cv2.imread(str(tmp_path / f"{i}/labels/{name}.png"), cv2.IMREAD_UNCHANGED) for i in range(2))
        assert len(np.unique(theirs)) > 1 and (ours == theirs).mean() > 0.999


def test_an_image_that_is_too_small_is_skipped(exported, tmp_path):
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((20, 40, 3), np.uint8))
    out = tmp_path / "out"
    assert "1 of 1 files" in run(
        "predict.py", tmp_path / "tiny.png", "--onnx", exported["segmentation"][3], "--out", out
    )
    assert (
        "takes 32 px and more a side, got 20 x 40"
        in json.loads((out / "predictions.json").read_text())["skipped"][0]["reason"]
    )


def test_the_documents_code(root, exported, images, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs/predict-and-export.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copy(exported["segmentation"][3], "segmentor.onnx")
    shutil.copy(exported["detection"][3], "detector.onnx")
    shutil.copy(images / "wide.png", "image.png")
    names = {}
    for block in blocks:
        exec(compile(block, "predict-and-export.md", "exec"), names)
    assert len(blocks) == 3 and cv2.imread("colours.png").shape == (70, 150, 3)
    config, checkpoint = exported["detection"][1:3]
    assert run("predict.py", "image.png", "--config", config, "--checkpoint", checkpoint, "--out", "out") == 0
    found = json.loads((tmp_path / "out/predictions.json").read_text())["annotations"]
    sides = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in found)]
    np.testing.assert_allclose(names["boxes"] / names["factor"], sides, atol=1)  # of pixels, by the rounded factor


def changed(exported, out, **metadata):
    import onnx

    proto = onnx.load(exported["detection"][3])
    kept = {entry.key: entry.value for entry in proto.metadata_props} | metadata
    onnx.helper.set_model_props(proto, {key: value for key, value in kept.items() if value})
    onnx.save(proto, out)
    return out


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"task": ""}, "is not a detector or segmentor of tools/export.py: its metadata have no valid 'task'"),
        ({"task": "features"}, "is not a detector or segmentor of tools/export.py"),
        ({"mask_threshold": ""}, "its metadata have no valid 'mask_threshold'"),
        ({"other_steps": '["Pad"]'}, "takes channels BGR after ['Pad'], of which this command knows nothing"),
        (None, "model.onnx is not an ONNX file that onnxruntime runs"),
    ],
)
def test_other_files_are_refused(exported, images, tmp_path, capsys, metadata, message):
    path = tmp_path / "model.onnx"
    if metadata is None:
        path.write_text("hello")
    else:
        changed(exported, path, **metadata)
    assert run("predict.py", images, "--onnx", path, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--out", "x.pt2"], 2, "--out must end in .onnx for --format onnx, got x.pt2"),
        (["--out", "x.onnx", "--format", "torch"], 2, "--out must end in .pt2 for --format torch, got x.onnx"),
        (["--out", "x.onnx", "--cfg-options", "model.type=CascadeRCNN"], 1, ""),
        (["--out", "x.onnx", "--cfg-options", "model.test_cfg.rcnn.nms.type=soft_nms"], 1, "test_cfg.rcnn.nms must be"),
    ],
)
def test_refused_exports_leave_no_file(folder, tmp_path, capsys, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    config, checkpoint = folder / "detection.py", folder / "detection.pth"
    if not checkpoint.exists():
        written(folder, "detection", small_config("mask-rcnn"))
    assert run("export.py", config, checkpoint, *arguments) == status
    assert message in capsys.readouterr().err.splitlines()[-1] and not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [[], ["--onnx", "FILE", "--config", "FILE"], ["--config", "FILE"]])
def test_predict_takes_a_checkpoint_or_a_file(tmp_path, capsys, arguments):
    (tmp_path / "file").touch()
    given = [tmp_path / "file" if a == "FILE" else a for a in arguments]
    assert run("predict.py", "x.png", *given) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--config and --checkpoint" in line


def test_openvino_reads_the_file(exported):
    openvino = pytest.importorskip("openvino")
    _, _, _, out = exported["segmentation"]
    x = random_image(97, 50).numpy()
    (found,) = openvino.Core().compile_model(str(out), "CPU")(x).values()
    (expected,) = session(out).run(None, {"image": x})
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
