"""Configs read as tools/train.py reads them, and written whole."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import Any, NoReturn

from mmengine.config import Config
from training.openmmlab import load_config

from backbones.training.files import write_whole


class _Refuses(argparse.ArgumentParser):
    """Says what is wrong with a config by an exception."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def read_config(file: Path, options: dict[str, Any], *phases: str) -> Config:
    """The config as tools/train.py reads it, with its data found.

    Raises:
        ValueError: A setting that nothing reads, data that are missing, or a value that cannot be written down.
    """
    args = argparse.Namespace(config=file, cfg_options=options, launcher="none", local_rank=0, work_dir=None)
    config = load_config(_Refuses(), args, *phases)
    for key, value in config.to_dict().items():
        try:
            ast.literal_eval(repr(value))
        except (ValueError, SyntaxError):
            raise ValueError(f"{file}: {key} holds more than texts, numbers, lists and mappings") from None
    return config


def write_config(config: dict[str, Any], path: Path) -> None:
    """Write a whole config, one setting in a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda part: part.write_text(config_text(config)))


def config_text(config: dict[str, Any]) -> str:
    """A config as a Python file."""
    return "".join(f"{key} = {value!r}\n" for key, value in config.items())
