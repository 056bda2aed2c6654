"""What tools/train.py and tools/test.py share: the arguments OpenMMLab users know, and a config ready to run."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from typing import Any

from files.arguments import any_path, existing_file, output_folder
from files.cfg_options import add_cfg_options
from files.paths import RUNS
from mmengine.config import Config
from mmengine.registry import RUNNERS, init_default_scope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from backbones.openmmlab import read_safely
from training.config_names import unknown_names
from training.config_paths import expand_users, find_data, missing_files, move_data


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments both tools take."""
    parser.add_argument("config", type=existing_file, help="config file")
    parser.add_argument(
        "--work-dir", type=output_folder, help="for logs and checkpoints; default work_dirs/CONFIG_NAME"
    )
    add_cfg_options(parser)
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)


def read_config(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Config:
    """The config ``args.config`` with ``args.cfg_options`` applied; modules beside it can be imported.

    ``data_root`` among ``--cfg-options`` is put in its place wherever the config has it.

    Paths on the command line are meant from where the user is, ``--cfg-options`` included. Data that a config of this
    repository names lie in the repository, those of another config where the user is, or else in the repository.

    Raises:
        SystemExit: A setting that nothing reads; one line says which.
    """
    sys.path.insert(1, str(args.config.parent))
    config = Config.fromfile(args.config)
    options = expand_users(args.cfg_options)
    if config.get("data_root") and isinstance(options.get("data_root"), str):
        move_data(config, options.pop("data_root"))
    find_data(config, args.config)
    if unknown := unknown_names(options, config):
        parser.error(f"--cfg-options: {'; '.join(unknown)}")
    _merge(config, options)
    if any(name.startswith("custom_imports") for name in options):
        import_modules_from_strings(**config.custom_imports)
    warnings.filterwarnings("ignore", message="`torch.meshgrid`|torch.meshgrid", category=UserWarning)
    return config


def load_config(parser: argparse.ArgumentParser, args: argparse.Namespace, *phases: str) -> Config:
    """:func:`read_config`, with the common arguments applied, and what the config reads is there.

    ``phases`` are what is run: train, val, test.

    Raises:
        SystemExit: A setting that nothing reads, or a file that is missing; one line says which.
    """
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    config = read_config(parser, args)
    config.launcher = args.launcher
    config.work_dir = str(any_path(str(args.work_dir or config.get("work_dir") or RUNS / args.config.stem)))
    if missing := missing_files(config, phases):
        parser.error(missing[0])
    return config


def _merge(config: Config, options: dict[str, Any]) -> None:
    """mmengine's merge; ``custom_hooks.0.type=...`` makes a list where the config has none."""
    new = {name.partition(".")[0] for name in options} - set(config)
    config.merge_from_dict(options)
    for name in new:
        entries = config[name]
        if isinstance(entries, dict) and entries and set(entries) == {str(i) for i in range(len(entries))}:
            config[name] = [entries[str(i)] for i in range(len(entries))]


def build_runner(config: Config) -> Runner:
    """The runner a config asks for, or the one of this project; nothing of this process unpickles from now on."""
    read_safely()
    init_default_scope(config.get("default_scope") or "mmengine")  # it may be registered there
    config.setdefault("runner_type", "SafeRunner")
    return RUNNERS.build(config)
