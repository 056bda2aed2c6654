"""A tiny masked pre-training in mmengine; as a script, in torchrun's processes: FOLDER, images in FOLDER/images."""

import itertools
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import backbones.openmmlab  # noqa: F401 (registers it)
from backbones.openmmlab.runner import SafeRunner

WIDTHS = [8, 12, 16, 20]
BACKBONE = {"type": "VHeat", "arch": {"dims": WIDTHS, "depths": (1, 1, 1, 1), "init_std": None}, "img_size": 64}
NECK = {"type": "mmdet.FPN", "in_channels": WIDTHS, "out_channels": 16, "num_outs": 5}
_RUNS = itertools.count()


def config(**options):
    return {
        "type": "MaskedPretraining",
        "backbone": BACKBONE,
        "neck": NECK,
        "target_generator": {"pixels": 1.0, "features": 1.0},
        "mask": {"type": "RandomUnits", "unit": 16, "ratio": 0.6},
        **options,
    }


def draw_images(folder, count=11):
    """Noise on ramps."""
    for i in range(count):
        noise = np.random.default_rng(i).normal(0, 20, (80, 90, 3)) + np.linspace(0, 200, 90)[:, None]
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")


def runner(
    folder,
    data,
    *,
    iters=6,
    resume=False,
    hooks=(),
    accumulate=1,
    lr=1e-3,
    validate=False,
    launcher="none",
    images=None,
    **options,
):
    torch.manual_seed(0)
    loader = {"batch_size": 4, "num_workers": 0, "collate_fn": {"type": "pseudo_collate"}}
    images = images or {"type": "ImageFolder", "data_root": str(data), "size": 64}
    validation = {
        "val_dataloader": {
            **loader,
            "dataset": {**images, "train": False},
            "sampler": {"type": "DefaultSampler", "shuffle": False},
        },
        "val_cfg": {},
        "val_evaluator": {"type": "PretrainingLoss"},
    }
    return SafeRunner(
        model=options if "type" in options else config(**options),
        work_dir=str(folder),
        train_dataloader={**loader, "dataset": images, "sampler": {"type": "InfiniteSampler", "shuffle": True}},
        train_cfg={"by_epoch": False, "max_iters": iters, "val_interval": 3 if validate else 1000},
        optim_wrapper={
            "type": "OptimWrapper",
            "optimizer": {"type": "AdamW", "lr": lr, "betas": (0.9, 0.95), "weight_decay": 0.05},
            "accumulative_counts": accumulate,
        },
        param_scheduler={"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 6},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False, "max_keep_ckpts": 2}},
        custom_hooks=[{"type": "PretrainingHook", "source": "noise"}, *hooks],
        resume=resume,
        randomness={"seed": 0},
        experiment_name=f"pretraining-{next(_RUNS)}",
        log_level="ERROR",
        launcher=launcher,
        **(validation if validate else {}),
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    done = runner(folder / "work", folder / "images", launcher="pytorch")
    done.train()
    torch.save(done.model.module.state_dict(), folder / f"{done.rank}.pth")
