"""Train an image classifier with timm's parts. The defaults are vHeat's published ImageNet-1K recipe.

    python tools/train_classifier.py --data-dir FOLDER --model vheat_tiny    (FOLDER/{train,val}/CLASS/*.jpg)
    python tools/train_classifier.py --dataset digits                        (a few minutes on two cores)
    python tools/train_classifier.py --data-dir FOLDER --model rs_vheat_tiny --modalities FILE.json ...
        (FOLDER/{train,val}/MODALITY/CLASS/*.tif; docs/remote-sensing-tasks.md)
    torchrun --nproc_per_node 8 tools/train_classifier.py ...                (--batch-size is that of one process)

SIGTERM and SIGUSR1 save everything at the next update and end the run with exit code 143; a second one ends it at once.
The same command with --resume goes on where OUT/last.pth was written, after an epoch or in the middle of one, to the
weights of an uninterrupted run: all random numbers follow from the seed, the epoch, the step or image, and the process;
with larger --epochs it extends the run. Updates whose gradients are not finite are skipped, which the log counts; after
10 in a row the run ends, as it does after 3 failures in a row to write its files.
--evaluate FILE measures a checkpoint instead, at the size that it was trained at unless --img-size gives another.

Writes OUT/last.pth (everything, to go on from), OUT/best.pth (the weights of the best validation accuracy, as trained
or averaged, which of them, and the names of the classes) and OUT/log.jsonl, each whole or not at all,
with the SHA-256 of the checkpoints beside them.
"""

from __future__ import annotations

from training.classifier import train_or_evaluate
from training.group import leaving_the_group
from training.recipe import parse_arguments


def main(argv: list[str] | None = None) -> list[dict[str, float]]:
    """Train or evaluate; returns the measurements."""
    return train_or_evaluate(parse_arguments(argv, __doc__ or ""))


if __name__ == "__main__":
    with leaving_the_group():
        main()
