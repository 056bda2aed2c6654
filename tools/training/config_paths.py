"""Paths in a config: where relative ones are looked for, and whether what is read is there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from files.paths import ROOT
from mmengine.config import Config


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """A setting with every string in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return type(value)({key: _changed(item, change) for key, item in value.items()})
    if type(value) in (list, tuple):
        return type(value)(_changed(item, change) for item in value)
    return value


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    """All dicts in a setting, from the outside in."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _dicts(item)


def _local(path: Any) -> bool:
    return isinstance(path, str) and bool(path) and "://" not in path


def expand_users(options: dict[str, Any]) -> dict[str, Any]:
    """Options with ``~`` in the place of which the shell put nothing, as it stands behind ``KEY=``."""
    return _changed(options, lambda text: str(Path(text).expanduser()) if text.startswith("~/") else text)


def move_data(config: Config, root: str) -> None:
    """Put another folder in the place of the config's ``data_root``, in every path that begins with it."""
    old = config.data_root.rstrip("/")
    new = str(Path(root).expanduser().absolute())

    def place(text: str) -> str:
        return new + text.removeprefix(old) if f"{text}/".startswith(f"{old}/") else text

    for key, value in config._cfg_dict.items():
        config._cfg_dict[key] = _changed(value, place)


def find_data(config: Config, file: Path) -> None:
    """Make what begins with a relative ``data_root`` absolute, such as the annotations an evaluator reads.

    It is in the repository for the repository's own configs, whose ``data/`` it is. For others it is where the user is,
    unless it is only in the repository, whose bases they may have; that is said. What is nowhere stays as it is.
    """
    ours = file.resolve().is_relative_to(ROOT)
    bases = {}
    for root in {d["data_root"] for d in _dicts(config._cfg_dict) if _local(d.get("data_root"))}:
        if Path(root).is_absolute():
            continue
        if not ours and Path(root).is_dir():
            bases[root] = Path(root).absolute()
        elif ours or (ROOT / root).is_dir():
            bases[root] = ROOT / root
            if not ours and Path.cwd() != ROOT:
                print(f"data_root {root} is not here: taking {bases[root]}", file=sys.stderr)

    def place(text: str) -> str:
        roots = [root for root in bases if text == root or text.startswith(f"{root.rstrip('/')}/")]
        longest = max(roots, key=len, default="")
        return f"{bases[longest]}{text.removeprefix(longest.rstrip('/'))}" if roots else text

    if bases:
        for key, value in config._cfg_dict.items():
            config._cfg_dict[key] = _changed(value, place)


def missing_files(config: Config, phases: Sequence[str]) -> list[str]:
    """What a config reads in these phases (train, val, test) and is not there, a line for each."""
    hint = config.get("data_help") or "set its path with --cfg-options"
    found = []
    for name in (f"{phase}_dataloader" for phase in phases):
        for dataset in _dicts((config.get(name) or {}).get("dataset")):
            if "data_root" in dataset and not dataset.get("backend_args"):
                found += [f"data set not found: {path} ({name}); {hint}" for path in _absent_data(dataset)]
    for name in (f"{phase}_evaluator" for phase in phases):
        for metric in _dicts(config.get(name)):
            path = metric.get("ann_file")
            if _local(path) and not metric.get("backend_args") and not Path(path).is_file():
                found.append(f"annotations not found: {Path(path).absolute()} ({name}.ann_file); {hint}")
    weights = [("load_from", config.get("load_from"))]
    for init in (i for d in _dicts(config.get("model")) for i in _dicts(d.get("init_cfg"))):
        if init.get("type") == "Pretrained":
            weights.append(("init_cfg.checkpoint", init.get("checkpoint")))
    for overlay in (d.get("pretrained_cfg_overlay") for d in _dicts(config.get("model"))):
        if isinstance(overlay, dict):
            weights.append(("pretrained_cfg_overlay.file", overlay.get("file")))
    return found + [
        f"no such checkpoint: {path} ({name})"
        for name, path in weights
        if _local(path) and not Path(path).expanduser().is_file()
    ]


def _absent_data(dataset: dict[str, Any]) -> Iterator[Path]:
    """The folder of a data set, or the first that is missing of what lies in it."""
    root = dataset["data_root"]
    if not _local(root):
        return
    if not Path(root).is_dir():
        yield Path(root).absolute()
        return
    prefixes = dataset.get("data_prefix") or {}
    parts = [dataset.get("ann_file"), *(prefixes.values() if isinstance(prefixes, dict) else ())]
    for path in (Path(root, part) for part in parts if _local(part)):
        if not path.exists():
            yield path.absolute()
            return
