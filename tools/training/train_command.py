"""A training by a config, as tools/train.py and tools/pretrain.py run it."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from files.arguments import existing_file
from mmengine.device import get_device

from training.openmmlab import add_common_arguments, build_runner, load_config
from training.schedules import CheckLength


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a training."""
    add_common_arguments(parser)
    parser.add_argument(
        "--amp",
        nargs="?",
        const="float16",
        choices=("float16", "bfloat16"),
        help="train with automatic mixed precision, float16 where no other is asked for; bfloat16 on the CPU, too",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        type=existing_file,
        const=True,
        metavar="FILE",
        help="resume from FILE, or from the newest good checkpoint",
    )
    parser.add_argument(
        "--reschedule",
        action="store_true",
        help="with --resume: go on by this config's schedule, learning rates and batch size where they have changed",
    )
    parser.add_argument("--tensorboard", action="store_true", help="log for TensorBoard, too")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate with the batch size")


def train(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Train by the config that the arguments name.

    Raises:
        SystemExit: Arguments that do not fit each other or the config; one line says which.
    """
    if args.amp == "float16" and get_device() == "cpu":
        parser.error("--amp float16 needs an accelerator; --amp bfloat16 works on the CPU, too")
    if args.tensorboard and find_spec("tensorboard") is None:
        parser.error("--tensorboard needs a package: pip install tensorboard")
    if args.reschedule and not args.resume:
        parser.error("--reschedule changes a run that is resumed: it needs --resume")
    config = load_config(parser, args, "train", "val")
    if args.amp == "float16":
        config.optim_wrapper.type = "AmpOptimWrapper"
        config.optim_wrapper.setdefault("loss_scale", "dynamic")
    elif args.amp:
        config.optim_wrapper.type = "BFloat16OptimWrapper"
        config.optim_wrapper.pop("loss_scale", None)  # of float16, which a config may ask for
    if args.tensorboard:
        config.setdefault("visualizer", {"type": "Visualizer"})
        config.visualizer.setdefault("vis_backends", [{"type": "LocalVisBackend"}])
        config.visualizer.vis_backends = [*config.visualizer.vis_backends, {"type": "TensorboardVisBackend"}]
    config.reschedule = args.reschedule
    if args.auto_scale_lr:
        if "base_batch_size" not in config.get("auto_scale_lr", {}):
            parser.error("--auto-scale-lr needs auto_scale_lr.base_batch_size in the config")
        config.auto_scale_lr.enable = True
    if args.resume is True and config.get("runner_type", "SafeRunner") == "SafeRunner":
        config.resume = "auto"  # and from load_from where there is nothing yet
    elif args.resume:
        config.resume, config.load_from = True, None if args.resume is True else str(args.resume)
    runner = build_runner(config)
    runner.register_hook(CheckLength())
    runner.train()
