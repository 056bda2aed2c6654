"""Train a model from an OpenMMLab config.

python tools/train.py configs/digit_scenes/mask-rcnn_vheat-n_fpn.py [--work-dir DIR] [--resume [FILE]] [--amp] ...

A run that was killed goes on with --resume as if it had not been; SIGTERM and SIGUSR1 save and stop (docs/training.md).
"""

from __future__ import annotations

import argparse

from training.commands import end_with_parent
from training.group import leaving_the_group
from training.train_command import add_train_arguments, train


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_train_arguments(parser)
    train(parser, parser.parse_args())


if __name__ == "__main__":
    end_with_parent()
    with leaving_the_group():
        main()
