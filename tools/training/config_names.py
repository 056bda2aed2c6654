"""Names of settings: what ``--cfg-options`` may set is in the config, or mmengine's runner reads it."""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
from collections import defaultdict
from functools import cache
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner


@cache
def names_read() -> dict[str, set[str]]:
    """What the runner reads by a literal name, from its source: of each dict, by the name that it has there.

    ``names_read()["cfg"]`` are settings of a config, ``names_read()["env_cfg"]`` those of its ``env_cfg``.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(Runner)))):
        match node:
            case ast.Call(func=ast.Attribute(attr="get", value=owner), args=[ast.Constant(value=str(key)), *_]):
                pass
            case ast.Subscript(value=owner, slice=ast.Constant(value=str(key))):
                pass
            case _:
                continue
        match owner:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found[name].add(key)
    return found


#: What the commands here and SafeRunner read beside mmengine's runner.
_OURS = {"custom_imports", "data_help", "metainfo", "reschedule", "runner_type"}
_OURS |= {"test_pipeline", "tta_model", "tta_pipeline"}
#: Settings whose entries the runner reads by name, and passes over others; the rest is built, which finds mistakes.
_BY_NAME = ("auto_scale_lr", "env_cfg")


def unknown_names(options: dict[str, Any], config: Config) -> list[str]:
    """A line for each option, such as ``env_cfg.cudnn_benchmark``, that nothing reads, and what may have been meant."""
    known = {*config, *names_read()["cfg"], *inspect.signature(Runner).parameters, *_OURS} - {"cfg"}
    for section in _BY_NAME:
        known |= {f"{section}.{name}" for name in {*names_read()[section], *(config.get(section) or {})}}
    found = []
    for option in options:
        top, *rest = option.split(".")
        name = f"{top}.{rest[0]}" if top in _BY_NAME and rest else top
        if name not in known:
            leaves = {entry.rpartition(".")[2]: entry for entry in sorted(known)}
            close = difflib.get_close_matches(name.rpartition(".")[2], leaves, n=1)
            meant = f"; did you mean {leaves[close[0]]}?" if close else ""
            found.append(f"neither the config nor mmengine's runner has {option}{meant}")
    return found
