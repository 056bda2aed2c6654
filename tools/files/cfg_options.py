"""``--cfg-options KEY=VALUE ...``: mmengine's, but for the spaces in values, which are kept."""

from __future__ import annotations

import argparse
import re
from typing import Any

from mmengine.config import DictAction

_HELP = "override settings of the config, e.g. train_cfg.max_iters=100 optim_wrapper.optimizer.lr=1e-4"
_SPACE = "\0"  # what no argument of a command can hold


class _Options(DictAction):
    @staticmethod
    def _parse_iterable(val: str) -> Any:
        val = val.strip("'\"").strip()
        if "," not in val and val[:1] + val[-1:] not in ("()", "[]"):
            return DictAction._parse_int_float_bool(val)
        before = ""
        while before != val:  # around commas, and inside of lists' brackets, not of those in names
            before = val
            val = re.sub(r"\s*,\s*", ",", val)
            val = re.sub(r"((?:^|[,(\[])[(\[])\s+", r"\1", val)
            val = re.sub(r"\s+([)\]](?:$|[,)\]]))", r"\1", val)
        return _spaced(DictAction._parse_iterable(val.replace(" ", _SPACE)))


def _spaced(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_spaced, value))
    return value.replace(_SPACE, " ") if isinstance(value, str) else value


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add the argument. A value with a comma is a list, as in mmengine."""
    parser.add_argument("--cfg-options", nargs="+", action=_Options, default={}, metavar="KEY=VALUE", help=_HELP)
