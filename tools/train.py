"""Train a model from an OpenMMLab config.

python tools/train.py configs/digit_scenes/mask-rcnn_vheat-n_fpn.py [--work-dir DIR] [--resume [FILE]] [--amp] ...
"""

from __future__ import annotations

import argparse

from files.arguments import existing_file
from mmengine.device import get_device
from training.openmmlab import add_common_arguments, build_runner, load_config
from training.schedules import CheckLength


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_common_arguments(parser)
    parser.add_argument("--amp", action="store_true", help="train with automatic mixed precision")
    parser.add_argument(
        "--resume",
        nargs="?",
        type=existing_file,
        const=True,
        metavar="FILE",
        help="resume from FILE, or from the newest good checkpoint",
    )
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate with the batch size")
    args = parser.parse_args()
    if args.amp and get_device() == "cpu":
        parser.error("--amp needs an accelerator: mmengine has no mixed precision on the CPU")
    config = load_config(parser, args, "train", "val")
    if args.amp:
        config.optim_wrapper.type = "AmpOptimWrapper"
        config.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.auto_scale_lr:
        if "base_batch_size" not in config.get("auto_scale_lr", {}):
            parser.error("--auto-scale-lr needs auto_scale_lr.base_batch_size in the config")
        config.auto_scale_lr.enable = True
    if args.resume:
        config.resume = True
        config.load_from = None if args.resume is True else str(args.resume)
    runner = build_runner(config)
    runner.register_hook(CheckLength())
    runner.train()


if __name__ == "__main__":
    main()
