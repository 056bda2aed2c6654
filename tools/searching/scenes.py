"""A search on few digit scenes, by OpenMMLab: augmentation, backbone and recipe of a small semantic segmentor."""

from __future__ import annotations

import pprint
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from files.paths import DATA, ROOT
from files.whole import read_lines
from scenes.data_set import make_digit_scenes

from backbones.search import Agent, Choice, Limit, LogFloat, Ordinal, Space
from backbones.training.files import write_whole
from searching import networks
from searching.task import Task, Values

FOLDER = DATA / "digit_scenes"
#: What all trials share: few of the training scenes to train on, and some others of them to choose by.
CONFIG = ROOT / "configs" / "digit_scenes" / "fcn_vheat-n_few.py"
SIZE = 96
#: About twice the default's.
MOST_MACS = 28_000_000
#: Updates of a trial, where the task's name has no others.
ITERATIONS = 1200
#: Validations of a trial.
SCORES = 8


def macs(backbone: Mapping[str, Any]) -> int:
    """Multiply-accumulates of a backbone for a scene."""
    return networks.macs(backbone, SIZE)


SPACE = Space(
    aug=Agent(
        resize=Ordinal([0.0, 0.25, 0.5]),
        crop=Ordinal([64, 80, 96]),
        flip=Ordinal([0.0, 0.5]),
        photometric=Choice([False, True]),
    ),
    backbone=Agent(**networks.CHOICES, limits=Limit(macs, MOST_MACS, "MACs")),
    recipe=Agent(
        lr=LogFloat(5e-4, 2e-2, bins=8),
        warmup=Ordinal([0.01, 0.05, 0.2]),
        weight_decay=Ordinal([0.01, 0.05, 0.2]),
        drop_path=Ordinal([0.0, 0.1, 0.2]),
        background=Ordinal([0.03, 0.1, 0.3, 1.0]),
    ),
)
DEFAULT: Values = {
    "aug": {"resize": 0.0, "crop": 96, "flip": 0.0, "photometric": False},
    "backbone": {f"operator_{stage}": "heat" for stage in (1, 2, 3)} | {"width": 16, "depth": 3, "mlp_ratio": 4.0},
    "recipe": {"lr": 3e-3, "warmup": 0.05, "weight_decay": 0.05, "drop_path": 0.0, "background": 0.1},
}


def config(values: Values, iterations: int) -> str:
    """The OpenMMLab config of what was chosen."""
    aug, recipe = values["aug"], values["recipe"]
    backbone = networks.backbone(values["backbone"], SIZE, recipe["drop_path"])
    low, high, crop = 1 - aug["resize"], 1 + aug["resize"], (aug["crop"], aug["crop"])
    pipeline: list[dict[str, Any]] = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {"type": "RandomResize", "scale": (SIZE, SIZE), "ratio_range": (low, high), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": crop, "cat_max_ratio": 1.0},
        {"type": "RandomFlip", "prob": aug["flip"]},
        *([{"type": "PhotoMetricDistortion"}] if aug["photometric"] else []),
        {"type": "PackSegInputs"},
    ]
    loss = {"class_weight": [recipe["background"]] + [1.0] * 10}
    head = {"in_channels": backbone["arch"]["dims"], "loss_decode": loss}
    interval = max(1, iterations // SCORES)
    rising = max(1, round(recipe["warmup"] * iterations))
    schedule = [
        {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": rising},
        {"type": "CosineAnnealingLR", "eta_min": 1e-6, "by_epoch": False, "begin": 0, "end": iterations},
    ]
    optimizer = {"lr": recipe["lr"], "weight_decay": recipe["weight_decay"]}
    settings = {
        "_base_": str(CONFIG),
        "model": {
            "data_preprocessor": {"size": crop},  # smaller images are padded to it
            "backbone": {"_delete_": True, **backbone},
            "decode_head": head,
        },
        "train_dataloader": {"dataset": {"pipeline": pipeline}},
        "train_cfg": {"max_iters": iterations, "val_interval": interval},
        "default_hooks": {"checkpoint": {"interval": interval}, "logger": {"interval": interval}},
        "optim_wrapper": {"optimizer": optimizer},
        "param_scheduler": schedule,
    }
    return "".join(
        f"{name} = {pprint.pformat(value, width=116, sort_dicts=False)}\n" for name, value in settings.items()
    )


def command(values: Values, folder: Path, seed: int, iterations: int) -> list[str]:
    """Train in ``folder``, by its config.py, which is written now, or go on there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.py"
    write_whole(path, lambda part: part.write_text(config(values, iterations)))
    tool = [sys.executable, str(ROOT / "tools" / "train.py"), str(path), "--work-dir", str(folder), "--resume"]
    return [*tool, "--cfg-options", f"randomness.seed={seed}", f"data_root={FOLDER}/"]


def scores(folder: Path) -> list[float]:
    """Validation mIoUs in per cent, in the order of training; what was validated twice counts once."""
    rows = [row for path in sorted(folder.glob("*/vis_data/scalars.json")) for row in read_lines(path)]
    found = {row["step"]: row["mIoU"] for row in rows if "mIoU" in row}
    return [found[step] for step in sorted(found)]


def test(folder: Path) -> list[str]:
    """Measure the last weights on the validation scenes, which nothing before has read."""
    checkpoint = (folder / "last_checkpoint").read_text().strip()
    tool = [sys.executable, str(ROOT / "tools" / "test.py"), str(folder / "config.py"), checkpoint]
    data = "test_dataloader.dataset"
    prefixes = [f"{data}.data_prefix.img_path=val", f"{data}.data_prefix.seg_map_path=val_labels"]
    options = [*prefixes, f"{data}.indices=None", f"data_root={FOLDER}/"]
    return [*tool, "--work-dir", str(folder / "test"), "--cfg-options", *options]


def export(values: Values, seed: int, iterations: int) -> dict[str, str]:
    """How to make and train what was chosen."""
    arguments = ", ".join(f"{key}={value!r}" for key, value in networks.model_options(values["backbone"]).items())
    return {
        "timm": f'timm.create_model("vheat_nano", img_size={SIZE}, features_only=True, {arguments})',
        "OpenMMLab": config(values, iterations),
        "training": f"python tools/train.py THIS_CONFIG.py --cfg-options randomness.seed={seed}",
    }


def task(iterations: int = ITERATIONS) -> Task:
    """The search, each training of so many updates."""
    return Task(
        SPACE,
        DEFAULT,
        partial(command, iterations=iterations),
        scores,
        partial(make_digit_scenes, replace=False),
        test,
        partial(export, iterations=iterations),
        measure="mIoU",
    )
