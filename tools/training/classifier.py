"""The training of a classifier: everything a run consists of, its checkpoints and its log."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from files.whole import write_whole
from scenes.digits import write_digits
from timm.data import Mixup
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3, init_distributed_device, random_seed
from torch import Tensor, distributed, nn

from backbones import read_checkpoint
from training.advice import advice
from training.classification import autocast, check_classes, create_network, evaluate, make_loader, open_folder

#: Arguments that a resumed run may change.
_FREE = {"resume", "out", "data_dir", "device", "rank", "local_rank", "evaluate"}


class Training:
    """Everything a run consists of.

    Attributes:
        net: The network.
        ema: Its moving average, or None.
        history: A dict of measurements for each complete epoch.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        dataset, val = open_folder(args, "train"), open_folder(args, "val")
        classes, others = (set(d.reader.class_to_idx) for d in (dataset, val))
        if classes != others:
            raise ValueError(f"--data-dir: train and val differ in the classes {sorted(classes ^ others)[:5]}")
        args.num_classes = len(classes)
        random_seed(args.seed)
        self.class_names = list(dataset.reader.class_to_idx)
        self.net = create_network(args, args.num_classes)
        self.loader, self.val = make_loader(args, dataset, self.net, True), make_loader(args, val, self.net, False)
        if not len(self.loader):
            raise ValueError(f"--batch-size: {len(dataset)} images do not fill {args.world_size} x {args.batch_size}")
        self.ema = ModelEmaV3(self.net, decay=args.ema_decay) if args.ema_decay else None
        lr = args.lr or 5e-4 * args.batch_size * args.accumulate * args.world_size / 512
        self.optimizer = create_optimizer_v2(
            self.net, args.opt, lr=lr, weight_decay=args.weight_decay, layer_decay=args.layer_decay
        )
        self.updates_per_epoch = math.ceil(len(self.loader) / args.accumulate)
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
        self.mixup: Mixup | None = None
        self.loss: nn.Module = LabelSmoothingCrossEntropy(args.smoothing)
        if args.mixup + args.cutmix > 0:
            self.mixup = Mixup(args.mixup, args.cutmix, label_smoothing=args.smoothing, num_classes=args.num_classes)
            self.loss = SoftTargetCrossEntropy()
        self.history: list[dict[str, float]] = []
        if (args.out / "last.pth").exists():
            if not args.resume:
                raise ValueError(f"{args.out} holds a run: give --resume to go on with it, or another --out")
            self.resume()
        self.model = nn.parallel.DistributedDataParallel(self.net) if args.distributed else self.net

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "model": self.net.state_dict(),
            **({"model_ema": self.ema.module.state_dict()} if self.ema else {}),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
            "args": self.settings(),
        }

    def settings(self) -> dict[str, Any]:
        """The arguments that a resumed run must share."""
        return {n: str(v) if isinstance(v, Path) else v for n, v in vars(self.args).items() if n not in _FREE}

    def resume(self) -> None:
        """Go back to the end of the last complete epoch."""
        checkpoint = read_checkpoint(self.args.out / "last.pth")
        if missing := sorted(set(self.state()) - set(checkpoint)):
            raise ValueError(f"--resume: {self.args.out / 'last.pth'} is none of this tool's: it lacks {missing}")
        theirs, ours = checkpoint["args"], self.settings()
        longer = theirs.get("epochs", ours["epochs"]) < ours["epochs"]
        if different := [n for n in ours if theirs.get(n) != ours[n] and not (n == "epochs" and longer)]:
            pairs = ", ".join(f"{n}={theirs.get(n)!r} (now {ours[n]!r})" for n in different)
            raise ValueError(f"--resume: the run in {self.args.out} was started with {pairs}")
        self.net.load_state_dict(checkpoint["model"])
        if self.ema:
            self.ema.module.load_state_dict(checkpoint["model_ema"])
        self.history = checkpoint["history"]
        for name in ("optimizer", "scaler") if longer else ("optimizer", "scheduler", "scaler"):
            getattr(self, name).load_state_dict(checkpoint[name])
        if longer:
            self.scheduler.step_update(len(self.history) * self.updates_per_epoch)
            self.say(f"the run goes on to {ours['epochs']} epochs instead of {theirs['epochs']}, by their schedule")

    def say(self, text: str) -> None:
        """Print a line, once."""
        if self.args.rank == 0:
            print(text, file=sys.stderr, flush=True)

    def train_epoch(self, epoch: int) -> float:
        """One pass over the images; returns the mean loss."""
        args, steps = self.args, len(self.loader)
        random_seed(int(np.random.SeedSequence([args.seed, epoch, args.rank]).generate_state(1)[0]))
        if args.distributed:
            self.loader.sampler.set_epoch(epoch)
        self.model.train()
        total: Tensor | float = 0.0
        updates = epoch * self.updates_per_epoch
        for step, (images, targets) in enumerate(self.loader):
            if self.mixup:
                images, targets = self.mixup(images, targets)
            with autocast(args):
                loss = self.loss(self.model(images).float(), targets)
            share = min(args.accumulate, steps - step // args.accumulate * args.accumulate)
            self.scaler.scale(loss / share).backward()
            total += loss.detach()
            if (step + 1) % args.accumulate and step + 1 < steps:
                continue
            self.scaler.unscale_(self.optimizer)
            if args.clip_grad:
                nn.utils.clip_grad_norm_(self.net.parameters(), args.clip_grad)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad()
            updates += 1
            self.scheduler.step_update(updates)
            if self.ema:
                self.ema.update(self.net)
        return float(total / steps)

    def run(self) -> list[dict[str, float]]:
        """Train the epochs that are left; returns the measurements of all."""
        done = len(self.history)
        if done == self.args.epochs:
            self.say(f"nothing is left to do: all {done} epochs are in {self.args.out}; larger --epochs extend it")
        for epoch in range(done, self.args.epochs):
            start = time.monotonic()
            row = {"epoch": epoch, "train_loss": self.train_epoch(epoch), "lr": self.optimizer.param_groups[-1]["lr"]}
            if not math.isfinite(row["train_loss"]):
                raise SystemExit(f"error: the loss is {row['train_loss']} in epoch {epoch}; try a smaller --lr")
            row |= evaluate(self.net, self.val, self.args)
            if self.ema:
                row |= {f"ema_{n}": v for n, v in evaluate(self.ema.module, self.val, self.args).items()}
            row["seconds"] = time.monotonic() - start
            self.history.append(row)
            if self.args.rank == 0:
                self.save()
                print("  ".join(f"{n} {v:.4g}" for n, v in row.items()), flush=True)
        return self.history

    def best(self) -> dict[str, Any]:
        """The better weights of this moment under the name that all readers look for, and what they are."""
        row = self.history[-1]
        net, which, score = self.net, "raw", row["top1"]
        if self.ema and row["ema_top1"] > score:
            net, which, score = self.ema.module, "ema", row["ema_top1"]
        found = {"state_dict": net.state_dict(), "which": which, "top1": score, "epoch": row["epoch"]}
        return {**found, "class_names": self.class_names, "args": self.settings()}

    def save(self) -> None:
        """Write the log and the checkpoints."""
        state, out = self.state(), self.args.out
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "log.jsonl", lambda p: p.write_text("".join(json.dumps(r) + "\n" for r in self.history)))
        scores = [max(row["top1"], row.get("ema_top1", 0.0)) for row in self.history]
        if scores[-1] == max(scores):
            write_whole(out / "best.pth", lambda path: torch.save(self.best(), path))
        write_whole(out / "last.pth", lambda path: torch.save(state, path))


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
            check_classes(args.evaluate, list(dataset.reader.class_to_idx))
            net = create_network(args, len(dataset.reader.class_to_idx))
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
