"""What to change where a training is so short that the recipe of ImageNet holds it back."""

from __future__ import annotations

import argparse

#: Updates below which a training is short; the recipe was made for 375,000.
FEW = 10_000


def advice(args: argparse.Namespace, updates: int, lr: float) -> str | None:
    """A line that names the options of tools/train_classifier.py to change, or None where there are none."""
    change = []
    if args.mixup + args.cutmix > 0:
        change.append("--mixup 0 --cutmix 0")
    if args.auto_augment:
        change.append("--auto-augment ''")
    if args.ema_decay and updates * (1 - args.ema_decay) < 5:
        change.append(f"--ema-decay {max(0.0, 1 - 10 / updates):.3g}")
    if args.lr is None and lr < 2e-4:
        change.append("--lr 5e-4")
    if updates >= FEW or args.dataset == "digits" or not change:
        return None
    return (
        f"note: {updates} updates are few for the default recipe, which was made for 375,000; where a network hardly "
        f"learns, try {' '.join(change)}"
    )
