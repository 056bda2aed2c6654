"""What a trained detector or segmentor predicts, as pictures take it, and its work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch.utils.flop_counter import FlopCounterMode
from training.logs import latest


def build_runner(run: Path) -> Runner:
    """The trained model of a run inside a runner, ready to test."""
    config = Config.fromfile(latest(run / "train", "*.py"))
    config.work_dir = str(run / "report")
    config.log_level = "WARNING"
    config.load_from = str(latest(run / "train", "iter_*.pth"))
    config.resume = False
    runner = RUNNERS.build(config)
    runner.load_or_resume()
    runner.model.eval()
    return runner


@torch.no_grad()
def predictions(runner: Runner, count: int) -> list[tuple[np.ndarray, Any]]:
    """The first ``count`` validation images as RGB arrays, with the framework's data samples."""
    found: list[tuple[np.ndarray, Any]] = []
    for batch in runner.test_dataloader:
        for image, sample in zip(batch["inputs"], runner.model.test_step(batch), strict=True):
            found.append((image.permute(1, 2, 0).numpy()[..., ::-1], sample))
        if len(found) >= count:
            break
    return found[:count]


@torch.no_grad()
def gmacs(runner: Runner) -> float:
    """Multiply-accumulates of one validation image, heads included, in billions (torch's counter)."""
    batch = next(iter(runner.test_dataloader))
    one = {"inputs": batch["inputs"][:1], "data_samples": batch["data_samples"][:1]}
    with FlopCounterMode(display=False) as counter:
        runner.model.test_step(one)
    return counter.get_total_flops() / 2e9


def detection_samples(found: list[tuple[np.ndarray, Any]], threshold: float = 0.4) -> list[dict]:
    """What :func:`reports.pictures.detections` draws; predictions above a score."""
    samples = []
    for image, sample in found:
        truth, guess = sample.gt_instances, sample.pred_instances
        guess = guess[guess.scores > threshold]
        samples.append(
            {
                "image": image,
                "truth": {
                    "boxes": getattr(truth.bboxes, "tensor", truth.bboxes).numpy(),
                    "masks": np.asarray(truth.masks.masks, bool),
                    "labels": truth.labels.numpy(),
                    "texts": [str(int(i)) for i in truth.labels],
                },
                "prediction": {
                    "boxes": guess.bboxes.numpy(),
                    "masks": guess.masks.numpy().astype(bool),
                    "labels": guess.labels.numpy(),
                    "texts": [f"{int(i)} {s:.2f}" for i, s in zip(guess.labels, guess.scores, strict=True)],
                },
            }
        )
    return samples


def segmentation_samples(found: list[tuple[np.ndarray, Any]]) -> list[dict]:
    """What :func:`reports.pictures.segmentations` draws."""
    return [
        {
            "image": image,
            "truth": sample.gt_sem_seg.data[0].numpy(),
            "prediction": sample.pred_sem_seg.data[0].numpy(),
        }
        for image, sample in found
    ]
