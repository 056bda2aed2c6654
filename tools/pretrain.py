"""Pre-train a backbone and its neck together on a folder of images without labels.

python tools/pretrain.py configs/itpn/itpn_vheat-nano-fpn_digit-scenes.py [--data-dir FOLDER] [--resume [FILE]] ...

Takes what tools/train.py takes, and goes on and stops in the same way. The work folder then holds
pretrained.safetensors, the weights of backbone and neck for detectors and segmentors (docs/pretraining.md), and
reconstructions/, pictures of what the network makes of hidden parts.
"""

from __future__ import annotations

import argparse

from files.arguments import existing_folder
from training.commands import end_with_parent
from training.group import leaving_the_group
from training.train_command import add_train_arguments, train


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data-dir", type=existing_folder, help="images, in any subfolders; default: the config's")
    add_train_arguments(parser)
    args = parser.parse_args()
    if args.data_dir is not None:
        args.cfg_options["data_root"] = str(args.data_dir)
    train(parser, args)


if __name__ == "__main__":
    end_with_parent()
    with leaving_the_group():
        main()
