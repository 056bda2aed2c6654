"""tools/train.py and tools/test.py as a user runs them, on a tiny data set."""

import signal
import subprocess
import sys
import time

import pytest
import torch

DETECTION, SEGMENTATION = "digit_scenes/mask-rcnn_vheat-n_fpn.py", "digit_scenes/upernet_vheat-n.py"


def command(root, tool, config, data, folder, *arguments, options=()):
    overrides = [f"{loader}_dataloader.dataset.data_root={data}/" for loader in ("train", "val", "test")]
    overrides += [f"{loader}_dataloader.batch_size=2" for loader in ("train", "val", "test")]
    if config == DETECTION:
        overrides += [f"{name}_evaluator.ann_file={data}/val.json" for name in ("val", "test")]
    return [
        *(sys.executable, root / "tools" / tool, root / "configs" / config, *arguments, "--work-dir", folder),
        *("--cfg-options", *overrides, *options),
    ]


def run(command, cwd):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=cwd)


def state(path):
    return torch.load(path, weights_only=False)["state_dict"]


def test_a_killed_training_resumes_to_the_same_weights_and_is_evaluated(root, digit_scenes, tmp_path):
    iterations = ["train_cfg.max_iters=6", "train_cfg.val_interval=100", "default_hooks.checkpoint.interval=2"]
    options = [*iterations, "randomness.seed=0", "default_hooks.logger.interval=1"]
    whole = run(command(root, "train.py", DETECTION, digit_scenes, tmp_path / "whole", options=options), tmp_path)
    assert whole.returncode == 0, whole.stderr

    cut = command(root, "train.py", DETECTION, digit_scenes, "cut", options=[*options, "train_cfg.max_iters=100000"])
    process = subprocess.Popen(
        [str(c) for c in cut], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not (tmp_path / "cut" / "iter_2.pth").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for path in (tmp_path / "cut").glob("iter_*.pth"):
        if int(path.stem.removeprefix("iter_")) > 4:  # it was faster than the signal
            path.unlink()

    resumed = run(command(root, "train.py", DETECTION, digit_scenes, "cut", "--resume", options=options), tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed epoch: 0, iter: " in resumed.stdout + resumed.stderr
    expected, actual = state(tmp_path / "whole" / "iter_6.pth"), state(tmp_path / "cut" / "iter_6.pth")
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-4, atol=1e-6, msg=name)

    checkpoint = tmp_path / "cut" / "iter_6.pth"
    out = tmp_path / "predictions.pkl"
    test = command(root, "test.py", DETECTION, digit_scenes, tmp_path / "test", checkpoint, "--out", out)
    evaluated = run(test, tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "coco/bbox_mAP_50" in evaluated.stdout and "coco/segm_mAP_50" in evaluated.stdout
    assert out.stat().st_size > 0

    other = command(root, "test.py", SEGMENTATION, digit_scenes, tmp_path / "other", checkpoint)
    refused = run(other, tmp_path)
    assert refused.returncode != 0
    assert "iter_6.pth is not a checkpoint of this config's model" in refused.stderr


def test_segmentation_trains_and_is_evaluated(root, digit_scenes, tmp_path):
    options = ["train_cfg.max_iters=2", "train_cfg.val_interval=2"]
    train = command(root, "train.py", SEGMENTATION, digit_scenes, tmp_path, options=options)
    result = run(train, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "mIoU" in result.stdout and (tmp_path / "iter_2.pth").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py"], "config not found: nowhere.py"),
        (["CONFIG", "--cfg-options", "trian_cfg.max_iters=3"], "the config has no trian_cfg.max_iters"),
        (
            ["CONFIG", "--cfg-options", "train_dataloader.dataset.data_root=nowhere/"],
            "nowhere (train_dataloader); make it with: python tools/make_digit_scenes.py",
        ),
        (["CONFIG", "--resum"], "--resum"),
        *([] if torch.cuda.is_available() else [(["CONFIG", "--amp"], "--amp needs an accelerator")]),
    ],
)
def test_mistakes_get_one_clear_line(root, tmp_path, arguments, message):
    config = str(root / "configs" / DETECTION)
    result = run(
        [sys.executable, root / "tools/train.py", *(config if a == "CONFIG" else a for a in arguments)], tmp_path
    )
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
