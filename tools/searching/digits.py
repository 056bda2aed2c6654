"""A search on few digits: 10 labelled ones of each class, augmentation, architecture and recipe chosen together."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from files.data_set import make_data_set
from files.paths import DATA, ROOT
from scenes.digits import load_digits, split_digits

from backbones.search import Agent, Choice, Limit, LogFloat, Ordinal, Space
from searching import networks
from searching.task import Task, Values

FOLDER = DATA / "digits_few"
#: Labelled digits of each class to train on and to choose by. All others of the training split are left out.
TRAIN, VALIDATION = 10, 50
EPOCHS = 40
#: About twice the default's.
MOST_MACS = 3_000_000


def write_few_digits(out: Path = FOLDER, seed: int = 0) -> bool:
    """Write OUT/search/{train,val} and OUT/test/val, folders of images by class.

    The test images are the validation split of :func:`scenes.digits.split_digits`, and none of them is below
    OUT/search, which is all that a trial is told of.
    """
    meta = {"data": "few of scikit-learn's digits", "train": TRAIN, "val": VALIDATION, "seed": seed, "version": 1}

    def fill(folder: Path) -> None:
        bitmaps, labels = load_digits()
        splits = split_digits(labels, seed)
        rng = np.random.default_rng(seed)
        for label in range(10):
            known = rng.permutation(splits["train"][labels[splits["train"]] == label])
            parts = {
                "search/train": known[:TRAIN],
                "search/val": known[TRAIN : TRAIN + VALIDATION],
                "test/val": splits["val"][labels[splits["val"]] == label],
            }
            for name, indices in parts.items():
                (folder / name / str(label)).mkdir(parents=True)
                for i in indices:
                    picture = (bitmaps[i] * 255).round().astype("uint8")
                    cv2.imwrite(str(folder / name / str(label) / f"{i:04d}.png"), picture)

    return make_data_set(out, meta, "few digits", fill)


def macs(nas: Mapping[str, Any]) -> int:
    """Multiply-accumulates for an image of the size that was chosen."""
    return networks.macs(nas, nas["size"], classes=10)


SPACE = Space(
    aug=Agent(
        policy=Choice(["", "rand-m5-mstd0.5", "rand-m9-mstd0.5", "augmix-m3"]),
        scale=Ordinal([0.4, 0.6, 0.8, 1.0]),
        erasing=Ordinal([0.0, 0.1, 0.25]),
    ),
    nas=Agent(
        size=Ordinal([32, 48]),
        **networks.CHOICES,
        limits=Limit(macs, MOST_MACS, "MACs"),
    ),
    hpo=Agent(
        lr=LogFloat(3e-4, 1e-2, bins=8),
        warmup=Ordinal([0, 3, 10]),
        weight_decay=Ordinal([0.02, 0.05, 0.1, 0.2]),
        drop_path=Ordinal([0.0, 0.1, 0.2]),
        smoothing=Ordinal([0.0, 0.1]),
        mixup=Ordinal([0.0, 0.2, 0.8]),
    ),
)
DEFAULT: Values = {
    "aug": {"policy": "", "scale": 0.6, "erasing": 0.0},
    "nas": {f"operator_{stage}": "heat" for stage in (1, 2, 3)}
    | {"size": 32, "width": 16, "depth": 3, "mlp_ratio": 4.0},
    "hpo": {"lr": 2e-3, "warmup": 3, "weight_decay": 0.1, "drop_path": 0.1, "smoothing": 0.1, "mixup": 0.8},
}


def recipe(values: Values) -> list[str]:
    """The arguments of tools/train_classifier.py for what was chosen, but for folders and the seed."""
    aug, nas, hpo = (dict(values[name]) for name in ("aug", "nas", "hpo"))
    model = [f"{key}={json.dumps(value)}".replace(" ", "") for key, value in networks.model_options(nas).items()]
    return [
        *("--model", "vheat_nano", "--model-kwargs", *model),
        *("--img-size", str(nas["size"]), "--crop-pct", "1", "--hflip", "0", "--color-jitter", "0", "--cutmix", "0"),
        *("--epochs", str(EPOCHS), "--warmup-epochs", str(hpo["warmup"]), "--batch-size", "50", "--ema-decay", "0.97"),
        *("--workers", "0", "--auto-augment", aug["policy"], "--scale", str(aug["scale"]), "1.0"),
        *("--re-prob", str(aug["erasing"]), "--lr", repr(hpo["lr"]), "--weight-decay", str(hpo["weight_decay"])),
        *("--drop-path", str(hpo["drop_path"]), "--smoothing", str(hpo["smoothing"]), "--mixup", str(hpo["mixup"])),
    ]


def command(values: Values, folder: Path, seed: int) -> list[str]:
    """Train in ``folder``, or go on there."""
    tool = [sys.executable, str(ROOT / "tools" / "train_classifier.py"), "--data-dir", str(FOLDER / "search")]
    return [*tool, "--out", str(folder), "--seed", str(seed), "--resume", *recipe(values)]


def scores(folder: Path) -> list[float]:
    """Validation accuracies of the averaged weights, in per cent, one for each epoch."""
    path = folder / "log.jsonl"
    return [json.loads(line)["ema_top1"] for line in path.read_text().splitlines()] if path.exists() else []


def test(folder: Path) -> list[str]:
    """Measure the averaged weights of the last epoch on the test images."""
    tool = [sys.executable, str(ROOT / "tools" / "train_classifier.py"), "--data-dir", str(FOLDER / "test")]
    return [*tool, "--evaluate", str(folder / "last.pth"), "--weights", "ema", "--workers", "0", "--crop-pct", "1"]


def export(values: Values, seed: int) -> dict[str, str]:
    """How to make, train and use what was chosen."""
    nas = dict(values["nas"])
    options, size = networks.model_options(nas), nas["size"]
    arguments = ", ".join(f"{key}={value!r}" for key, value in options.items())
    training = ["--data-dir", str(FOLDER / "search"), "--seed", str(seed), *recipe(values)]
    return {
        "timm": f'timm.create_model("vheat_nano", img_size={size}, num_classes=10, {arguments})',
        "train_classifier": f"python tools/train_classifier.py {shlex.join(training)}",
        "OpenMMLab": f"model = dict(backbone={networks.backbone(nas, size, values['hpo']['drop_path'])!r})",
    }


TASK = Task(SPACE, DEFAULT, command, scores, write_few_digits, test, export)
