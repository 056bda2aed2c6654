"""The command line of tools/train_classifier.py, whose defaults are vHeat's published ImageNet-1K recipe."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from files.arguments import existing_file, existing_folder, output_folder
from files.paths import RUNS
from scenes.digits import DEFAULT_OUT
from timm.utils import ParseKwargs

import backbones  # noqa: F401 (registers its networks with timm)
from backbones.remote_sensing import ModalitySpec
from training.classification import saved_settings

#: What --dataset digits changes in the defaults: digits have a left and a right, and the run is short.
DIGITS_DEFAULTS = {
    **{"model": "vheat_nano", "img_size": 32, "epochs": 60, "warmup_epochs": 4, "batch_size": 64, "lr": 2e-3},
    **{"auto_augment": "", "color_jitter": 0.0, "hflip": 0.0, "scale": [0.6, 1.0], "crop_pct": 1.0, "re_prob": 0.0},
    **{"ema_decay": 0.99, "workers": 0},
}


def number(kind: type, low: float, high: float = math.inf) -> Callable[[str], Any]:
    """A type for argparse: numbers from ``low`` to ``high``."""

    def read(text: str) -> Any:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be at least {low}{f' and at most {high}' * (high < math.inf)}")
        return value

    read.__name__ = kind.__name__
    return read


def _specs(text: str) -> list[dict[str, Any]]:
    """The specs of modalities in a JSON file."""
    path = existing_file(text)
    try:
        content = json.loads(path.read_text())
        return [ModalitySpec.of(each).to_dict() for each in content]
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path} is no list of modalities: {error}") from None


def _of_file(parser: argparse.ArgumentParser, path: Path) -> dict[str, Any]:
    """Defaults for measuring a file."""
    try:
        return saved_settings(path)
    except (OSError, ValueError) as error:
        parser.error(f"--evaluate: {error}")


def parse_arguments(argv: list[str] | None, description: str) -> argparse.Namespace:
    """The command line; ends the program with one line where it is wrong."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s (--data-dir FOLDER | --dataset digits) [options]; --help lists them",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    count, share, positive = number(int, 1), number(float, 0, 1), number(float, 0)
    add = parser.add_argument
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument(
        "--data-dir", type=existing_folder, help="with train/ and val/, a folder of images for each class"
    )
    data.add_argument("--dataset", choices=["digits"], help="scikit-learn's digits; changes the defaults, too")
    add("--out", type=output_folder, default=RUNS / "classifier", help="default %(default)s")
    add("--model", default="vheat_tiny", help="any timm name; default %(default)s")
    add("--model-kwargs", nargs="+", action=ParseKwargs, default={}, metavar="K=V", help="e.g. embed_resize=pad")
    add(
        "--modalities",
        type=_specs,
        metavar="FILE.json",
        help="specs of RS-vHeat's modalities; --data-dir then has train/ and val/MODALITY/CLASS",
    )
    add("--img-size", type=count, default=224)
    add("--drop-path", type=share, default=0.1, help="published: tiny 0.1, small 0.3, base 0.5")
    add(
        "--initial-checkpoint",
        type=existing_file,
        help="start from it, with a new classifier for other classes",
    )
    add("--evaluate", type=existing_file, metavar="FILE", help="measure this file, by its own model and size, and stop")
    add("--weights", choices=("raw", "ema"), default="raw", help="which weights of those files")
    add("--resume", action="store_true", help="go on from OUT/last.pth, if there is one")
    add("--seed", type=number(int, 0), default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--workers", type=number(int, 0), default=min(4, os.cpu_count() or 1), help="processes that load images")
    add("--amp", choices=("bfloat16", "float16"), help="mixed precision")
    add("--grad-checkpointing", action="store_true", help="recompute activations to save memory")
    add("--epochs", type=count, default=300)
    add("--warmup-epochs", type=number(int, 0), default=20)
    add("--batch-size", type=count, default=128, help="images of one process and step")
    add("--accumulate", type=count, default=1, help="steps whose gradients make one update")
    add("--opt", default="adamw", help="any optimizer of timm")
    add("--lr", type=number(float, 1e-9), help="default 5e-4 for 512 images an update, in proportion")
    add("--weight-decay", type=positive, default=0.08)
    add("--layer-decay", type=number(float, 0.01, 1), help="by which learning rates fall a layer towards the input")
    add("--clip-grad", type=positive, default=5.0, help="largest norm of the gradient; 0 for any")
    add("--ema-decay", type=share, default=0.9999, help="of the moving average of weights; 0 for none")
    add("--smoothing", type=share, default=0.1, help="of labels")
    add("--mixup", type=positive, default=0.8)
    add("--cutmix", type=positive, default=1.0)
    add("--auto-augment", default="rand-m9-mstd0.5-inc1", help="timm's policy; '' for none")
    add("--color-jitter", type=positive, default=0.4)
    add("--hflip", type=share, default=0.5)
    add("--scale", type=share, nargs=2, default=[0.08, 1.0], help="share of the image that a training crop covers")
    add("--re-prob", type=share, default=0.25, help="of erasing a rectangle")
    add("--crop-pct", type=number(float, 0.01, 1), default=0.875, help="share of the side that is evaluated")
    try:
        first = parser.parse_known_args(argv)[0]
        if first.dataset == "digits":
            parser.set_defaults(**DIGITS_DEFAULTS, data_dir=DEFAULT_OUT)
        if first.evaluate:
            parser.set_defaults(**_of_file(parser, first.evaluate))
        args = parser.parse_args(argv)
    except ValueError:  # of timm's ParseKwargs
        parser.error("--model-kwargs: give KEY=VALUE")
    if args.modalities:
        args.model_kwargs = {**args.model_kwargs, "modalities": args.modalities}
    try:
        torch.device(args.device)
    except RuntimeError as error:
        parser.error(f"--device: {str(error).splitlines()[0]}")
    if not timm.is_model(args.model):
        parser.error(f"--model: timm knows no {args.model!r}; timm.list_models('vheat*') and the like name what it has")
    if args.warmup_epochs >= args.epochs:
        parser.error(f"--warmup-epochs must be below --epochs, got {args.warmup_epochs} and {args.epochs}")
    if args.mixup + args.cutmix > 0 and args.batch_size % 2:
        parser.error(f"--batch-size must be even for mixup and cutmix, got {args.batch_size}")
    return args
