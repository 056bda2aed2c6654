"""What a run of training a classifier consists of, and how it goes into a file and back."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch
from timm.data import Mixup
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3, random_seed
from torch import nn

from backbones import read_checkpoint
from training.advice import advice
from training.batches import Batches
from training.classification import class_numbers, create_network, make_loader, open_folder
from training.run_files import RunFiles
from training.updates import Updates

#: Arguments that a resumed run may change.
_FREE = {"resume", "out", "data_dir", "device", "rank", "local_rank", "evaluate", "workers"}


class RunState:
    """Everything a run consists of.

    Attributes:
        net: The network.
        ema: Its moving average, or None.
        history: A dict of measurements for each complete epoch.
        step: How many batches of the present epoch have been trained with.
        losses: The sum of their losses, those that are finite, and how many these are.
        skipped: How many of its updates were skipped.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        dataset, val = open_folder(args, "train"), open_folder(args, "val")
        classes, others = (set(class_numbers(d)) for d in (dataset, val))
        if classes != others:
            raise ValueError(f"--data-dir: train and val differ in the classes {sorted(classes ^ others)[:5]}")
        args.num_classes = len(classes)
        random_seed(args.seed)
        self.class_names = list(class_numbers(dataset))
        self.net = create_network(args, args.num_classes)
        self.batches = Batches(make_loader(args, dataset, self.net, True), args)
        self.val = make_loader(args, val, self.net, False)
        if not len(self.batches):
            raise ValueError(f"--batch-size: {len(dataset)} images do not fill {args.world_size} x {args.batch_size}")
        self.ema = ModelEmaV3(self.net, decay=args.ema_decay) if args.ema_decay else None
        lr = args.lr or 5e-4 * args.batch_size * args.accumulate * args.world_size / 512
        self.optimizer = create_optimizer_v2(
            self.net, args.opt, lr=lr, weight_decay=args.weight_decay, layer_decay=args.layer_decay
        )
        self.updates_per_epoch = math.ceil(len(self.batches) / args.accumulate)
        if note := advice(args, args.epochs * self.updates_per_epoch, lr):
            self.say(note)
        self.scheduler, _ = create_scheduler_v2(
            self.optimizer,
            num_epochs=args.epochs,
            warmup_epochs=args.warmup_epochs,
            warmup_lr=lr / 1000,
            min_lr=lr / 100,
            step_on_epochs=False,
            updates_per_epoch=self.updates_per_epoch,
        )
        self.scaler = torch.amp.GradScaler(torch.device(args.device).type, enabled=args.amp == "float16")
        self.updates = Updates(self.net, self.optimizer, self.scaler, args.clip_grad)
        self.mixup: Mixup | None = None
        self.loss: nn.Module = LabelSmoothingCrossEntropy(args.smoothing)
        if args.mixup + args.cutmix > 0:
            self.mixup = Mixup(args.mixup, args.cutmix, label_smoothing=args.smoothing, num_classes=args.num_classes)
            self.loss = SoftTargetCrossEntropy()
        self.history: list[dict[str, float]] = []
        self.best_score = -1.0
        self.start_epoch()
        self.files = RunFiles(args)
        if self.files.last.exists():
            if not args.resume:
                raise ValueError(f"{args.out} holds a run: give --resume to go on with it, or another --out")
            self.resume()

    def start_epoch(self) -> None:
        """Count from nothing."""
        self.step = self.skipped = 0
        self.losses = torch.zeros(2, dtype=torch.float64, device=self.args.device)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "model": self.net.state_dict(),
            # Not by a name that timm knows: its checkpoint_path= would open the average and all others the weights.
            **({"model_average": self.ema.module.state_dict()} if self.ema else {}),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
            "progress": {n: getattr(self, n) for n in ("step", "losses", "skipped", "best_score")},
            "args": self.settings(),
        }

    def settings(self) -> dict[str, Any]:
        """The arguments that a resumed run must share."""
        return {n: str(v) if isinstance(v, Path) else v for n, v in vars(self.args).items() if n not in _FREE}

    def resume(self) -> None:
        """Go back to where ``last.pth`` was written."""
        checkpoint = read_checkpoint(self.files.last)
        if "model_ema" in checkpoint:  # its name in older runs
            checkpoint["model_average"] = checkpoint.pop("model_ema")
        if missing := sorted(set(self.state()) - set(checkpoint)):
            raise ValueError(f"--resume: {self.files.last} is none of this tool's: it lacks {missing}")
        theirs, ours = checkpoint["args"], self.settings()
        longer = theirs.get("epochs", ours["epochs"]) < ours["epochs"]
        if different := [n for n in ours if theirs.get(n) != ours[n] and not (n == "epochs" and longer)]:
            pairs = ", ".join(f"{n}={theirs.get(n)!r} (now {ours[n]!r})" for n in different)
            raise ValueError(f"--resume: the run in {self.args.out} was started with {pairs}")
        self.net.load_state_dict(checkpoint["model"])
        if self.ema:
            self.ema.module.load_state_dict(checkpoint["model_average"])
        self.history, progress = checkpoint["history"], checkpoint["progress"]
        self.step, self.skipped, self.best_score = (progress[n] for n in ("step", "skipped", "best_score"))
        if self.args.rank == 0:  # they are the sums of all processes
            self.losses += progress["losses"].to(self.losses)
        for name in ("optimizer", "scaler") if longer else ("optimizer", "scheduler", "scaler"):
            getattr(self, name).load_state_dict(checkpoint[name])
        if longer:
            self.scheduler.step_update(self.updates_made())
            self.say(f"the run goes on to {ours['epochs']} epochs instead of {theirs['epochs']}, by their schedule")

    def say(self, text: str) -> None:
        """Print a line, once."""
        if self.args.rank == 0:
            print(text, file=sys.stderr, flush=True)

    def updates_made(self) -> int:
        """Since the start of the run, the skipped ones among them."""
        return len(self.history) * self.updates_per_epoch + math.ceil(self.step / self.args.accumulate)

    def best(self) -> dict[str, Any]:
        """The better weights of this moment under the name that all readers look for, and what they are."""
        row = self.history[-1]
        net, which, score = self.net, "raw", row["top1"]
        if self.ema and row["ema_top1"] > score:
            net, which, score = self.ema.module, "ema", row["ema_top1"]
        found = {"state_dict": net.state_dict(), "which": which, "top1": score, "epoch": row["epoch"]}
        return {**found, "class_names": self.class_names, "args": self.settings()}
