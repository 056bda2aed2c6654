"""Runs of tools/train.py and tools/test.py on the configs of digit scenes, also changed ones, and their metrics."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from files.paths import ROOT

from training.commands import run, say
from training.logs import latest, read_records

CONFIGS = {
    "detection": ROOT / "configs/digit_scenes/mask-rcnn_vheat-n_fpn.py",
    "segmentation": ROOT / "configs/digit_scenes/upernet_vheat-n.py",
}

#: The metrics of each task, by the frameworks' names, and the names in tables.
METRICS = {
    "detection": {"coco/bbox_mAP": "box AP", "coco/segm_mAP": "mask AP"},
    "segmentation": {"mIoU": "mIoU"},
}


def schedule(iterations: int) -> dict[str, Any]:
    """What a config of digit scenes changes for another number of iterations."""
    return {
        "train_cfg": {"max_iters": iterations, "val_interval": iterations},
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": 50},
            {"type": "CosineAnnealingLR", "eta_min": 1e-6, "by_epoch": False, "begin": 0, "end": iterations},
        ],
    }


def write_changed(base: Path, changes: dict[str, Any], path: Path) -> None:
    """Write a config that is ``base`` with changes."""
    lines = [f"_base_ = {str(base)!r}", *(f"{key} = {value!r}" for key, value in changes.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def train(task: str, folder: Path) -> dict[str, float]:
    """Train FOLDER/config.py in FOLDER/run: the metrics at the end, in percent, and the seconds."""
    command = [sys.executable, "tools/train.py", str(folder / "config.py"), "--work-dir", str(folder / "run")]
    seconds = run(command, folder / "train.log")
    return {**_metrics(task, latest(folder / "run", "*/vis_data/scalars.json")), "seconds": seconds}


def evaluate(task: str, folder: Path) -> dict[str, float]:
    """The metrics, in percent, of what was trained there, on the config's test scenes."""
    checkpoint = (folder / "run" / "last_checkpoint").read_text()
    command = [sys.executable, "tools/test.py", str(folder / "config.py"), checkpoint]
    run([*command, "--work-dir", str(folder / "test")], folder / "test.log")
    return _metrics(task, latest(folder / "test", "*/*.json"))


def _metrics(task: str, log: Path) -> dict[str, float]:
    last = read_records(log)[-1]
    scale = 100 if task == "detection" else 1
    if task == "detection" and not METRICS[task].keys() & last.keys():  # so mmdet reports that nothing was detected
        return dict.fromkeys(METRICS[task].values(), 0.0)
    return {ours: scale * last[theirs] for theirs, ours in METRICS[task].items()}


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
