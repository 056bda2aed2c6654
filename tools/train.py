"""Train a model from an OpenMMLab config.

python tools/train.py configs/digit_scenes/mask-rcnn_vheat-n_fpn.py [--work-dir DIR] [--resume [FILE]] [--amp] ...
"""

from __future__ import annotations

import argparse

from mmengine.device import get_device
from mmengine.registry import RUNNERS
from training.openmmlab import add_common_arguments, load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_common_arguments(parser)
    parser.add_argument("--amp", action="store_true", help="train with automatic mixed precision")
    parser.add_argument(
        "--resume", nargs="?", const="auto", metavar="FILE", help="resume from FILE, or from the newest good checkpoint"
    )
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate with the batch size")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.amp and get_device() == "cpu":
        raise SystemExit("--amp needs an accelerator: mmengine has no mixed precision on the CPU")
    config = load_config(args)
    if args.amp:
        config.optim_wrapper.type = "AmpOptimWrapper"
        config.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.auto_scale_lr:
        if "base_batch_size" not in config.get("auto_scale_lr", {}):
            raise SystemExit("--auto-scale-lr needs auto_scale_lr.base_batch_size in the config")
        config.auto_scale_lr.enable = True
    if args.resume:
        config.resume = True
        config.load_from = None if args.resume == "auto" else args.resume
    RUNNERS.build(config).train()


if __name__ == "__main__":
    main()
