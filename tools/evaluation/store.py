"""Predictions, kept under a hash of all that they depend on, so that metrics and pictures need no second run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from files.commit import commit
from files.paths import ROOT
from files.whole import write_json
from training.commands import run, say

from backbones.weights.integrity import sha256
from evaluation.config_files import config_text, write_config
from evaluation.locks import locked

#: Paths in configs are meant from where the user is.
run_here = partial(run, folder=Path())
#: Whose code predictions depend on: in the repository, and installed.
_OWN = ("spectral_ops", "backbones", "adapters")
_OTHERS = ("torch", "torchvision", "timm", "peft", "mmengine", "mmcv", "mmdet", "mmseg", "numpy")
#: Settings that change nothing in predictions.
_ASIDE = ("work_dir", "test_evaluator", "randomness", "default_hooks", "data_help", "log_level", "resume")


@cache
def code_version() -> str:
    """A hash of the packages' sources, changes that are not committed included, and of what they build on."""
    digest = hashlib.sha256()
    for package in _OWN:
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    for name in _OTHERS:
        digest.update(f"{name} {_version(name)}\n".encode())
    return digest.hexdigest()


def imported_code(config: dict[str, Any]) -> str:
    """A hash of the modules that a config imports beside those of :func:`code_version`, if there are any."""
    imports = (config.get("custom_imports") or {}).get("imports") or []
    names = [imports] if isinstance(imports, str) else imports
    files = [_source(name) for name in names if name.partition(".")[0] not in _OWN]
    sources = [path.read_bytes() for path in files if path]
    return hashlib.sha256(b"\0".join(sources)).hexdigest() if sources else ""


def _source(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


def _version(name: str) -> str:
    for distribution in (name, *{"mmdet": ["onedl-mmdetection"], "mmseg": ["onedl-mmsegmentation"]}.get(name, ())):
        for full in (distribution, f"onedl-{distribution}"):
            try:
                return version(full)
            except PackageNotFoundError:
                continue
    return "unknown"


def prediction_key(config: dict[str, Any], checkpoint: str, annotations: str, code: str) -> str:
    """The hash that predictions are kept under.

    Args:
        config: That predicts.
        checkpoint, annotations, code: Hashes of the checkpoint's bytes, of the annotations and of the code.
    """
    text = config_text({key: value for key, value in config.items() if key not in _ASIDE})
    return hashlib.sha256("\0".join((text, checkpoint, annotations, code)).encode()).hexdigest()[:20]


class Store:
    """The predictions in a folder.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def predict(
        self,
        configs: Sequence[dict[str, Any]],
        kind: str,
        checkpoint: Path,
        annotations: tuple[str, str],
        name: str,
        environment: dict[str, str] | None = None,
        run: Callable[..., float] | None = run_here,
    ) -> list[str]:
        """Predict by each config, all in one process, unless that has been done: the keys of the predictions.

        Args:
            configs: That predict; their evaluator is set here.
            kind: ``"detection"`` or ``"segmentation"``.
            checkpoint: The weights.
            annotations: The file of COCO annotations, or nothing for segmentation, and the hash of what they are.
            name: What is said while it runs.
            environment: Of the command.
            run: How a command is run; None runs nothing.

        Raises:
            FileNotFoundError: They are not there, and nothing may be run.
            evaluation.locks.Busy: Another command is at one of them.
            SystemExit: One has failed; the others are kept.
        """
        weights = sha256(checkpoint)
        keys = [prediction_key(c, weights, annotations[1], code_version() + imported_code(c)) for c in configs]
        if all(map(self._is_there, keys)):
            return keys
        if run is None:
            missing = next(key for key in keys if not self._is_there(key))
            raise FileNotFoundError(f"predictions are missing: {self.folder / missing}; run without --report-only")
        with ExitStack() as locks:
            for key in sorted(set(keys)):
                if not self._is_there(key):
                    locks.enter_context(locked(self.folder / f"{key}.lock"))
            wanted = {key: config for key, config in zip(keys, configs, strict=True) if not self._is_there(key)}
            if wanted:
                self._predict(wanted, kind, checkpoint, annotations[0], name, environment, run)
        return keys

    def _predict(
        self,
        wanted: dict[str, dict[str, Any]],
        kind: str,
        checkpoint: Path,
        truth: str,
        name: str,
        environment: dict[str, str] | None,
        run: Callable[..., float],
    ) -> None:
        parts = {key: self.folder / f"{key}.part" for key in wanted}
        for key, part in parts.items():
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            if kind == "detection":
                evaluator = {"type": "CocoMetric", "ann_file": truth, "outfile_prefix": str(part / "found")}
            else:
                evaluator = {"type": "IoUMetric", "output_dir": str(part / "labels")}
            write_config({**wanted[key], "test_evaluator": {**evaluator, "format_only": True}}, part / "config.py")
        say(f"{name} testing" + f" {len(parts)} times" * (len(parts) > 1))
        log = self.folder / "logs" / f"{next(iter(parts))}.log"
        command = [sys.executable, str(ROOT / "tools/store_predictions.py"), str(checkpoint), *map(str, parts.values())]
        try:
            run(command, log, environment, name)
        finally:
            for key, part in parts.items():
                if (part / "done.json").is_file():
                    seconds = json.loads((part / "done.json").read_text())["seconds"]
                    self._keep(key, part, kind, {"seconds": seconds, "commit": commit(), "checkpoint": str(checkpoint)})
        if missing := [part for part in parts.values() if part.is_dir()]:
            raise FileNotFoundError(f"tools/store_predictions.py has left no predictions in {missing[0]}; see {log}")

    def _keep(self, key: str, part: Path, kind: str, record: dict[str, Any]) -> None:
        """Move complete predictions into place."""
        if not list(part.glob("found.*.json" if kind == "detection" else "labels/*.png")):
            return
        write_json(part / "record.json", record)
        shutil.rmtree(self.folder / key, ignore_errors=True)
        os.replace(part, self.folder / key)

    def _is_there(self, key: str) -> bool:
        return (self.folder / key / "record.json").is_file()

    def place(self, key: str) -> Path:
        """The folder of predictions.

        Raises:
            FileNotFoundError: They are not there.
        """
        place = self.folder / key
        if not self._is_there(key):
            raise FileNotFoundError(f"predictions are missing: {place}; run again without --report-only")
        return place

    def kept(self, key: str, name: str, make: Callable[[Path], Any]) -> Any:
        """What has been computed from predictions, kept beside them as NAME.json while the code of it is the same."""
        path = self.place(key) / f"{name}.json"
        with locked(path.with_suffix(".lock"), wait=True):
            if path.is_file() and (content := json.loads(path.read_text()))["code"] == _code_of_metrics():
                return content["value"]
            value = make(path.parent)
            write_json(path, {"code": _code_of_metrics(), "value": value})
            return value


@cache
def _code_of_metrics() -> str:
    here = Path(__file__).parent
    files = [here / "metrics.py", *sorted((here.parent / "analysis").glob("*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:20]
