"""Train an image classifier with timm's parts. The defaults are vHeat's published ImageNet-1K recipe.

    python tools/train_classifier.py --data-dir FOLDER --model vheat_tiny    (FOLDER/{train,val}/CLASS/*.jpg)
    python tools/train_classifier.py --dataset digits                        (a few minutes on two cores)
    torchrun --nproc_per_node 8 tools/train_classifier.py ...                (--batch-size is that of one process)

The same command with --resume goes on after the last complete epoch, to the weights of an uninterrupted run: the random
numbers of an epoch follow from the seed, the epoch and the process; with larger --epochs it extends the run.
--evaluate FILE measures a checkpoint instead, at the size that it was trained at unless --img-size gives another.

Writes OUT/last.pth (everything, to go on from), OUT/best.pth (the weights of the best validation accuracy, as trained
or averaged, which of them, and the names of the classes) and OUT/log.jsonl, each whole or not at all.
"""

from __future__ import annotations

from torch import distributed
from training.classifier import train_or_evaluate
from training.recipe import parse_arguments


def main(argv: list[str] | None = None) -> list[dict[str, float]]:
    """Train or evaluate; returns the measurements."""
    return train_or_evaluate(parse_arguments(argv, __doc__ or ""))


if __name__ == "__main__":
    try:
        main()
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
