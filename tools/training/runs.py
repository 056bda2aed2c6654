"""Runs of tools/train.py and tools/test.py on the configs of digit scenes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from files.paths import ROOT

from training.commands import run, say

CONFIGS = {
    "detection": ROOT / "configs/digit_scenes/mask-rcnn_vheat-n_fpn.py",
    "segmentation": ROOT / "configs/digit_scenes/upernet_vheat-n.py",
}


def train_and_test(task: str, folder: Path, seed: int, iterations: int | None) -> None:
    """Train and evaluate one config through the command-line tools."""
    config, python = str(CONFIGS[task]), sys.executable
    options = [f"randomness.seed={seed}", "train_cfg.val_interval=1000000"]
    if iterations is not None:
        options += [f"train_cfg.max_iters={iterations}", f"param_scheduler.1.end={iterations}"]
    say(f"training {config}")
    train = [python, "tools/train.py", config, "--work-dir", str(folder / "train"), "--cfg-options", *options]
    seconds = {"train": run(train, folder / "train.log")}
    checkpoint = (folder / "train" / "last_checkpoint").read_text()
    say(f"evaluating {checkpoint}")
    test = [python, "tools/test.py", config, checkpoint, "--work-dir", str(folder / "test")]
    seconds["test"] = run(test, folder / "test.log")
    (folder / "times.json").write_text(json.dumps(seconds))
