"""tools/measure_runtimes.py: accuracy of a file in several runtimes."""

import cv2
import measure_runtimes as tool
import numpy as np
import pytest
import timm
import torch
import train_classifier
from benchmarks.case import moved
from benchmarks.runtimes import RUNTIMES

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Of a small network on two classes, with 7 images to test and batches of 4."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("val", 4)):
        for label in range(2):
            (tmp_path / split / f"class{label}").mkdir(parents=True)
            for i in range(count - label * (split == "val")):
                picture = np.clip(rng.normal(60 + 130 * label, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
                cv2.imwrite(str(tmp_path / split / f"class{label}" / f"{i}.png"), picture)
    torch.manual_seed(0)
    net = moved(timm.create_model("vheat_nano", num_classes=2, img_size=32, dims=(8,) * 4, depths=(1,) * 4), 0.05)
    torch.save({"model": net.state_dict()}, tmp_path / "net.pth")
    few = {"float32": ["eager", "packed"], "int8": ["ONNX Runtime"]}
    monkeypatch.setattr(tool, "RUNTIMES", {p: {r: RUNTIMES[p][r] for r in names} for p, names in few.items()})
    small = ["--model", "vheat_nano", "--model-kwargs", "dims=(8,8,8,8)", "depths=(1,1,1,1)"]
    where = ["--data-dir", str(tmp_path), *small, "--batch-size", "4", "--workers", "0"]
    return [*where, "--device", "cpu", "--evaluate", str(tmp_path / "net.pth")]


def test_the_network_as_it_comes_is_what_the_trainer_measures(command, capsys):
    (expected,) = train_classifier.main(command)
    capsys.readouterr()
    rows = tool.main(command)
    assert [row[:2] for row in rows] == [["float32", "eager"], ["float32", "packed"], ["int8", "ONNX Runtime"]]
    for _, _, accuracy, difference, loss in rows[:2]:
        assert (accuracy, difference) == (expected["top1"], 0.0)
        assert loss == pytest.approx(expected["loss"], rel=1e-4)
    _, _, accuracy, difference, loss = rows[2]
    assert difference == pytest.approx(accuracy - expected["top1"])
    assert loss == pytest.approx(expected["loss"], rel=0.1) and loss != pytest.approx(expected["loss"], rel=1e-6)
    assert "| int8      | ONNX Runtime |" in capsys.readouterr().out


def test_images_to_calibrate_with_are_training_images_as_they_are_tested(command, tmp_path):
    args = tool.parse_arguments(command, "")
    tool.init_distributed_device(args)
    net = tool.create_network(args, 2)
    batches = tool._calibration(args, net)
    assert [batch.shape for batch in batches] == [(4, 3, 32, 32)] * tool.CALIBRATION
    loader = tool.make_loader(args, tool.open_folder(args, "train"), net, False)
    there = torch.cat([images for images, _ in loader])
    for image in torch.cat(batches):
        assert min((image - other).abs().max() for other in there) < 1e-5


def test_mistakes_get_one_line(command, tmp_path):
    with pytest.raises(SystemExit, match="error: --evaluate: give the file of a trained classifier"):
        tool.main(command[: command.index("--evaluate")])
    (tmp_path / "net.pth").write_bytes(b"no weights")
    with pytest.raises(SystemExit):
        tool.main(command)
