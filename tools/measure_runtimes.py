"""Measure the accuracy of a trained classifier in every runtime and precision, 8 bits after training included.

    python tools/measure_runtimes.py --dataset digits --evaluate work_dirs/classifier/best.pth
    python tools/measure_runtimes.py --data-dir FOLDER --evaluate FILE [--batch-size N]

Arguments are those of tools/train_classifier.py, which trained the file. What is measured are the images of the folder
val; int8 is calibrated with batches of the folder train, drawn by --seed. A row for each precision and runtime: top-1
accuracy in percent, its difference to the network as it comes, and the loss; or why it does not run here.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

import torch
from benchmarks.case import Absent
from benchmarks.runtimes import CALIBRATION, RUNTIMES, Predictor, deployed
from reports.tables import markdown
from scenes.digits import write_digits
from timm.utils import init_distributed_device
from torch import Tensor, nn
from training.classification import check_classes, class_numbers, create_network, evaluate, make_loader, open_folder
from training.recipe import parse_arguments

from backbones import SpectralNet


class _Filled(nn.Module):
    """What predicts for batches of one size, for smaller ones too."""

    def __init__(self, predict: Predictor, batch: int) -> None:
        super().__init__()
        self.predict, self.batch = predict, batch

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(torch.cat([x, x.new_zeros(self.batch - len(x), *x.shape[1:])]))[: len(x)]


def _calibration(args: argparse.Namespace, net: nn.Module) -> list[Tensor]:
    """Batches of training images as they are tested, drawn at random."""
    dataset = open_folder(args, "train")
    loader = make_loader(args, dataset, net, False)  # which tells the data set how to resize and crop
    generator = torch.Generator().manual_seed(args.seed)
    chosen = torch.randint(len(dataset), (CALIBRATION, args.batch_size), generator=generator)
    batches = (torch.stack([torch.as_tensor(dataset[i][0]) for i in batch]) for batch in chosen.tolist())
    return [(batch.float() - loader.mean.float()) / loader.std.float() for batch in batches]


def measure(args: argparse.Namespace) -> list[list[Any]]:
    """Precision, runtime, and accuracy, difference and loss, or a reason, of each."""
    dataset = open_folder(args, "val")
    classes = list(class_numbers(dataset))
    check_classes(args.evaluate, classes)
    net = create_network(args, len(classes)).eval()
    if isinstance(net, SpectralNet):
        with contextlib.suppress(ValueError):  # a gain that depends on the input
            net.reparameterize([args.img_size], keep_source=False)
    loader, calibration = make_loader(args, dataset, net, False), _calibration(args, net)
    before = evaluate(net, loader, args)["top1"]
    rows = []
    for precision, runtimes in RUNTIMES.items():
        for runtime in runtimes:
            predict = deployed(net, calibration[0], precision, runtime, calibration[1:])
            if isinstance(predict, Absent):
                rows.append([precision, runtime, predict.reason, "-", "-"])
                continue
            found = evaluate(_Filled(predict, args.batch_size), loader, args)
            rows.append([precision, runtime, found["top1"], found["top1"] - before, found["loss"]])
    return rows


def main(argv: list[str] | None = None) -> list[list[Any]]:
    args = parse_arguments(argv, __doc__ or "")
    if args.evaluate is None:
        raise SystemExit("error: --evaluate: give the file of a trained classifier")
    if not args.device.startswith("cpu"):
        raise SystemExit(f"error: --device: runtimes are measured on the CPU, got {args.device}")
    try:
        init_distributed_device(args)
        if args.dataset == "digits":
            write_digits()
        rows = measure(args)
    except (ValueError, OSError, AssertionError) as error:
        raise SystemExit(f"error: {error}") from None
    shown = ([f"{cell:.4g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    print(markdown(["precision", "runtime", "top-1 (%)", "difference", "loss"], shown, aligned=True))
    return rows


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
