"""The training of a classifier: its loop, which stops and goes on at any update."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time

import torch
from scenes.digits import write_digits
from timm.utils import init_distributed_device
from torch import Tensor, distributed, nn

from backbones.training.files import remove_parts
from backbones.training.stopping import Stop, StopRequest
from training.classification import (
    autocast,
    check_classes,
    class_numbers,
    create_network,
    evaluate,
    make_loader,
    open_folder,
)
from training.run_state import RunState
from training.updates import LIMIT


class Training(RunState):
    """Trains what a run consists of.

    Attributes:
        model: The network, as the processes share it.
        request: Whether a signal asked to stop.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.model = nn.parallel.DistributedDataParallel(self.net) if args.distributed else self.net
        self.request = StopRequest()

    def train_epoch(self, epoch: int) -> float:
        """What is left of a pass over the images; returns the mean loss of all processes."""
        args, steps = self.args, len(self.batches)
        self.model.train()
        for images, targets in self.batches.after(epoch, self.step):
            if self.step % args.accumulate == 0:
                self.updates.begin()
            if self.mixup:
                images, targets = self.mixup(images, targets)
            with autocast(args):
                loss = self.loss(self.model(images).float(), targets)
            share = min(args.accumulate, steps - self.step // args.accumulate * args.accumulate)
            self.scaler.scale(loss / share).backward()
            finite = loss.detach().isfinite()
            self.losses += torch.stack([torch.where(finite, loss.detach(), 0.0), finite.to(loss)])
            self.step += 1
            if self.step % args.accumulate == 0 or self.step == steps:
                self.update()
        total, count = self._all_losses().tolist()
        return total / count if count else math.nan

    def update(self) -> None:
        """Change the weights by their gradients, and stop where that was asked for."""
        reason = self.updates.make()
        self.scheduler.step_update(self.updates_made())
        if reason is not None:
            self.skipped += 1
            where = f"epoch {len(self.history)}, step {self.step}: {reason}"
            if self.updates.in_a_row >= LIMIT:
                raise SystemExit(
                    f"error: {where}. The last good file is {self.files.last_good()}; try a smaller --lr, "
                    f"--clip-grad or another precision"
                )
            self.say(f"{where}; the update is skipped")
        elif self.ema:
            self.ema.update(self.net)
        self.stop_if_asked()

    def _all_losses(self) -> Tensor:
        """The sums over all processes."""
        losses = self.losses.clone()
        if self.args.distributed:
            distributed.all_reduce(losses)
        return losses

    def stop_if_asked(self) -> None:
        """Save everything and end the process where a signal asked any of the processes to."""
        if not self.request.agreed():
            return
        self.losses = self._all_losses()
        asked = f"stopped by {self.request.name} in epoch {len(self.history)} after step {self.step}"
        if not self.files.attempt(lambda: self.files.write_checkpoint("last.pth", self.state())):
            raise SystemExit(
                f"error: {asked}, which could not be saved; the last good file is {self.files.last_good()}"
            )
        self.say(f"{asked}: {self.files.last} is saved; go on with --resume")
        raise Stop

    def run(self) -> list[dict[str, float]]:
        """Train what is left; returns the measurements of all epochs."""
        if len(self.history) == self.args.epochs:
            done = f"all {self.args.epochs} epochs are in {self.args.out}"
            self.say(f"nothing is left to do: {done}; larger --epochs extend it")
        if self.args.rank == 0:
            remove_parts(self.args.out)
        with self.request.listening():
            while len(self.history) < self.args.epochs:
                self.run_epoch(len(self.history))
        if self.files.failures:
            raise SystemExit(
                f"error: training is complete, but its last files could not be written to {self.args.out}: free space "
                f"there, and --resume trains again what came after {self.files.last_good()}"
            )
        return self.history

    def run_epoch(self, epoch: int) -> None:
        """Train, measure and save."""
        start = time.monotonic()
        row = {"epoch": epoch, "train_loss": self.train_epoch(epoch), "lr": self.optimizer.param_groups[-1]["lr"]}
        row["skipped_updates"] = self.skipped
        row |= evaluate(self.net, self.val, self.args, self.stop_if_asked)
        for name in ("train_loss", "loss"):
            if not math.isfinite(row[name]):
                raise SystemExit(
                    f"error: the {name} is {row[name]} in epoch {epoch}; try a smaller --lr; the last good file is "
                    f"{self.files.last_good()}"
                )
        if self.ema:
            found = evaluate(self.ema.module, self.val, self.args, self.stop_if_asked)
            row |= {f"ema_{n}": v for n, v in found.items()}
        row["seconds"] = time.monotonic() - start
        self.history.append(row)
        self.start_epoch()
        self.files.attempt(self._write)
        if self.args.rank == 0:
            print("  ".join(f"{n} {v:.4g}" for n, v in row.items()), flush=True)

    def _write(self) -> None:
        """The log and the checkpoints. ``last.pth`` comes last: a run that ends before it repeats the epoch."""
        self.files.write_log(self.history)
        score = max(self.history[-1]["top1"], self.history[-1].get("ema_top1", 0.0))
        if score >= self.best_score:
            self.files.write_checkpoint("best.pth", self.best())
            self.best_score = score
        self.files.write_checkpoint("last.pth", self.state())


def train_or_evaluate(args: argparse.Namespace) -> list[dict[str, float]]:
    """Do what the arguments of tools/train_classifier.py ask for; returns the measurements.

    Raises:
        SystemExit: Something does not fit; the message says what in one line.
    """
    try:
        init_distributed_device(args)  # adds rank, world_size and the like to args
        if args.dataset == "digits" and args.rank == 0:
            write_digits()
        if args.distributed:
            distributed.barrier()
        if args.evaluate:
            dataset = open_folder(args, "val")
            classes = list(class_numbers(dataset))
            check_classes(args.evaluate, classes)
            net = create_network(args, len(classes))
            if args.rank == 0:
                print(f"measuring {args.evaluate} at {args.img_size} px", file=sys.stderr)
            found = [evaluate(net, make_loader(args, dataset, net, False), args)]
            if args.rank == 0:
                print(json.dumps(found[0]))
            return found
        training = Training(args)
    except (ValueError, OSError, AssertionError) as error:  # timm asserts what it can do
        raise SystemExit(f"error: {error}") from None
    return training.run()
