"""What tools/train.py and tools/test.py share: the arguments OpenMMLab users know, and a config ready to run."""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

from files.paths import ROOT, RUNS
from mmengine.config import Config, DictAction


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments both tools take."""
    parser.add_argument("config", type=Path, help="config file")
    parser.add_argument("--work-dir", type=Path, help="where logs and checkpoints go; default work_dirs/CONFIG_NAME")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        default={},
        metavar="KEY=VALUE",
        help="override settings of the config, e.g. train_cfg.max_iters=100 optim_wrapper.optimizer.lr=1e-4",
    )
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """The config with the command line applied, its paths absolute and its data set present.

    Relative paths on the command line are meant from where the user is; ``data_root`` and ``work_dirs`` from the
    repository, so that the tools work from any directory.

    Raises:
        SystemExit: Config or data set are missing; the message says what to do.
    """
    if not args.config.is_file():
        raise SystemExit(f"config not found: {args.config}")
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    config = Config.fromfile(args.config)
    unknown = sorted(key for key in args.cfg_options if key.split(".")[0] not in config)
    if unknown:
        raise SystemExit(f"--cfg-options: the config has no {', '.join(unknown)}; it has {', '.join(sorted(config))}")
    config.merge_from_dict(args.cfg_options)
    config.launcher = args.launcher
    work_dir = args.work_dir or config.get("work_dir") or RUNS / args.config.stem
    config.work_dir = str(Path(work_dir).resolve())
    os.chdir(ROOT)
    _check_data(config)
    warnings.filterwarnings("ignore", message="`torch.meshgrid`|torch.meshgrid", category=UserWarning)
    return config


def _check_data(config: Config) -> None:
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        dataset = (config.get(name) or {}).get("dataset") or {}
        while "dataset" in dataset:  # wrappers
            dataset = dataset["dataset"]
        root = dataset.get("data_root")
        if root and "://" not in root and not Path(root).is_dir():
            hint = config.get("data_help") or "set its path with --cfg-options"
            raise SystemExit(f"data set not found: {Path(root).resolve()} ({name}); {hint}")
