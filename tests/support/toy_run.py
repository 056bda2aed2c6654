"""A toy training in mmengine in which everything draws random numbers: data, network, validation."""

import itertools
import os
import random
import signal
from unittest.mock import patch

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from backbones.openmmlab.runner import SafeRunner

_RUNS = itertools.count()


class Toy(BaseModel):
    """A linear layer with a batch norm and dropout."""

    def __init__(self, width=4, norm=True, drop=0.5):
        super().__init__()
        self.drop = drop
        self.linear = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(width) if norm else nn.Identity()

    def forward(self, inputs, mode="tensor"):
        x = torch.stack(inputs)
        x = nn.functional.dropout(self.norm(self.linear(x)), self.drop, self.training)
        return {"loss": (x - 1).square().mean()} if mode == "loss" else list(x)


class Points(Dataset):
    """Points moved by the generators of Python, NumPy and torch."""

    def __init__(self, count=22, noise=True):
        self.count, self.noise = count, noise

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        noise = random.random() + np.random.rand() + torch.rand(3) if self.noise else 0
        return {"inputs": torch.linspace(0, i, 3) + noise}


class Mean(BaseMetric):
    """A metric that draws random numbers, too."""

    def process(self, data_batch, data_samples):
        self.results.extend(float(x.mean() + 0 * torch.rand(1)) for x in data_samples)

    def compute_metrics(self, results):
        return {"score": sum(results)}


class Killed(BaseException):
    """Stands for a kill signal: no handler of the runner catches it."""


class KillAt(Hook):
    """Kills before the step of a number, counted from 0, or in the validation of a number."""

    priority = "VERY_HIGH"

    def __init__(self, step=None, validation=None):
        self.step, self.validation = step, validation

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            raise Killed

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.validation:
            raise Killed


class SignalAt(Hook):
    """Sends a signal in the step of a number, or in validation after it."""

    def __init__(self, step=None, validation=None, number=signal.SIGTERM, times=1):
        self.step, self.validation, self.number, self.times = step, validation, number, times

    def _send(self, now, at):
        if now == at:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._send(runner.iter, self.step)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self._send(runner.iter, self.validation)


def make(
    folder,
    *,
    iters=6,
    epochs=None,
    keep=2,
    interval=1,
    resume=False,
    load_from=None,
    width=4,
    workers=0,
    batch_size=4,
    count=22,
    val_interval=None,
    accumulate=1,
    sampler="InfiniteSampler",
    norm=True,
    drop=0.5,
    noise=True,
    lr=0.1,
    hooks=(),
    wrapper="OptimWrapper",
    checkpoint=None,
    cfg=None,
    launcher="none",
    randomness=None,
    **default_hooks,
):
    """A runner of SafeRunner on the toy; by epochs where ``epochs`` says how many."""
    torch.manual_seed(0)
    by_epoch = epochs is not None
    options = {"persistent_workers": True} if workers else {}
    data = {"collate_fn": {"type": "pseudo_collate"}, "num_workers": workers, **options}
    validation = {}
    if val_interval is not None:
        validation = {
            "val_dataloader": {
                **data,
                "dataset": Points(count, False),
                "batch_size": 5,
                "sampler": {"type": "DefaultSampler", "shuffle": False},
            },
            "val_cfg": {},
            "val_evaluator": [Mean()],
        }
    length = {"max_epochs": epochs} if by_epoch else {"max_iters": iters}
    checkpoint = {"by_epoch": by_epoch, **(checkpoint or {})} if checkpoint is not False else None
    if isinstance(checkpoint, dict):
        checkpoint = {"type": "CheckpointHook", "interval": interval, "max_keep_ckpts": keep, **checkpoint}
    return SafeRunner(
        model=Toy(width, norm, drop),
        work_dir=str(folder),
        train_dataloader={
            **data,
            "dataset": Points(count, noise),
            "batch_size": batch_size,
            "sampler": {"type": sampler, "shuffle": True},
        },
        train_cfg={"by_epoch": by_epoch, **length, "val_interval": val_interval or 1000},
        optim_wrapper={"type": wrapper, "optimizer": {"type": "AdamW", "lr": lr}, "accumulative_counts": accumulate},
        param_scheduler={"type": "CosineAnnealingLR", "by_epoch": by_epoch, "T_max": 6},
        default_hooks={**default_hooks, "checkpoint": checkpoint},
        custom_hooks=list(hooks),
        resume=resume,
        load_from=load_from,
        randomness=randomness or {"seed": 0},
        experiment_name=f"toy-{next(_RUNS)}",  # mmengine keeps singletons by it
        log_level="ERROR",
        launcher=launcher,
        cfg=cfg,
        **validation,
    )


def train_and_signal_twice(folder, within):
    """A run that gets two signals at once, where those ``within`` so many seconds count as one."""
    with patch("backbones.training.stopping._ONE", within):
        make(folder, iters=3, hooks=[SignalAt(step=1, times=2)]).train()


def read(path):
    """Everything in a file."""
    return torch.load(path, weights_only=False)


def names(folder):
    """The checkpoints of a folder."""
    return sorted(p.name for p in folder.glob("*.pth"))


def assert_same(a, b, where="file"):
    """Two files, to the bit; what the clock says and where they lie is passed over."""
    if isinstance(a, dict):
        free = ("time", "data_time", "images_per_s", "memory", "eta", "experiment_name", "ckpt", "mmengine_version")
        keys = [k for k in a if not (isinstance(k, str) and any(word in k for word in free))]
        assert set(keys) == {k for k in b if k in keys or not any(w in str(k) for w in free)}, where
        for key in keys:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{where}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b or (a != a and b != b), f"{where}: {a!r} {b!r}"
