"""Whether `.venv` works, because its known failures are silent. Run by the set-up with the interpreter of `.venv`."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

from packaging.requirements import Requirement

from environment.project import LOCK_FILE, PACKAGES, ROOT, SetupError, locked, present_packages

# Entry points rather than top-level names: `import mmdet` alone succeeds when half of its requirements are missing.
LIBRARIES = ("cv2", "mmengine.runner", "mmdet.apis", "mmdet.datasets", "mmseg.apis", "mmseg.datasets", "timm", "peft")


def check_environment() -> None:
    check_versions()
    check_mmcv()
    for name in (*LIBRARIES, *present_packages()):
        module = imported(name)
        if name in PACKAGES and Path(module.__file__).resolve().parent.parent != ROOT:
            wrong(f"`import {name}` takes {module.__file__} instead of this checkout.")


def check_versions() -> None:
    for requirement in map(Requirement, locked().values()):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong(f"{requirement.name} is not installed.")
        if not requirement.specifier.contains(found, prereleases=True):
            wrong(f"{requirement.name} is {found}, but {LOCK_FILE.name} says {requirement}.")


def check_mmcv() -> None:
    """Call compiled operators: they can be missing, or belong to another torch, without a complaint before."""
    torch, vision, mmcv = (imported(name) for name in ("torch", "torchvision.ops", "mmcv.ops"))
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 11.0, 11.0]])
    scores = torch.tensor([0.8, 0.9])
    if mmcv.nms(boxes, scores, 0.5)[1].tolist() != [1] or vision.nms(boxes, scores, 0.5).tolist() != [1]:
        wrong("non-maximum suppression gives a wrong result.")
    region = torch.tensor([[0.0, 1.0, 1.0, 5.0, 5.0]])
    if mmcv.roi_align(torch.ones(1, 1, 8, 8), region, (2, 2)).tolist() != [[[[1.0, 1.0], [1.0, 1.0]]]]:
        wrong("mmcv's roi_align gives a wrong result.")


def imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:
        wrong(f"`import {name}` fails with {type(error).__name__}: {' '.join(str(error).split())}")


def wrong(what: str) -> NoReturn:
    raise SetupError(f"The environment is wrong: {what} Run make clean and the command again.")


if __name__ == "__main__":
    try:
        check_mmcv() if sys.argv[1:] == ["mmcv"] else check_environment()
    except SetupError as error:
        sys.exit(str(error))
