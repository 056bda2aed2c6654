"""Run timm's own model tests on the models of this project.

    python tools/timm_tests.py [--source DIR] [--models 'vheat_*' 'vmix_nano' ...] [PYTEST ARGUMENTS]

timm's tests are not part of the installed package. They are taken from the source distribution of the installed
version, which pip downloads, or from ``--source``, a checkout of timm. Every test that runs over timm's list of models
runs over the chosen models instead, but for those of torch.jit.script, which torch deprecates and these models refuse.
Arguments that are not known here go to pytest, such as ``-k backward`` or ``-x``.
"""

from __future__ import annotations

import argparse
import fnmatch
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import timm
from files.arguments import existing_folder

import backbones
from backbones.remote_sensing import ModalitySpec

TESTS = "tests/test_models.py"
#: Modalities without a unit.
PLAIN = [ModalitySpec(name, bands, None, 0.0, 1.0) for name, bands in (("optical", ["R", "G", "B"]), ("sar", ["VV"]))]


class OnlyThese:
    """A pytest plugin: timm's lists hold ``names`` alone, and only tests made from such a list run."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)
        self.original = timm.list_models
        timm.list_models = timm.models.list_models = self.list_models
        self.create = timm.create_model
        timm.create_model = timm.models.create_model = self.create_model

    def create_model(self, model_name: str, *args: Any, **options: Any) -> Any:
        """timm's function; networks that check the unit of their images take timm's random numbers as they are."""
        if model_name in backbones.RS_VHEAT_MODELS:
            options.setdefault("modalities", PLAIN)
        return self.create(model_name, *args, **options)

    def list_models(self, filter: Any = "", module: Any = "", **options: Any) -> list[str]:
        """timm's function; ``module``, by which its tests pick the files of networks with a feature, is passed over."""
        return [name for name in self.original(filter, **options) if name.partition(".")[0] in self.names]

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        mine = [
            i
            for i in items
            if str(_parameters(i).get("model_name")).partition(".")[0] in self.names and "torchscript" not in i.name
        ]
        config.hook.pytest_deselected(items=[item for item in items if item not in mine])
        items[:] = mine


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return getattr(getattr(item, "callspec", None), "params", {})


def fetch(folder: Path) -> Path:
    """Download the source distribution of the installed timm and unpack its tests into ``folder``.

    Raises:
        SystemExit: pip cannot get it; the message says what to do.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "timm", "--dest", folder]
    done = subprocess.run([*command, f"timm=={timm.__version__}"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"cannot download the source distribution of timm {timm.__version__}: give a checkout of that version as "
            f"--source DIR\n{done.stderr.strip()}"
        )
    (archive,) = folder.glob("timm-*.tar.gz")
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if m.isfile() and ("/tests/" in m.name or m.name.count("/") == 1)]
        tar.extractall(folder, members, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def run(source: Path, patterns: list[str], arguments: list[str]) -> int:
    """Run timm's tests in ``source`` on the models that match; returns pytest's exit code."""
    if not (source / TESTS).is_file():
        raise SystemExit(f"{source} holds no {TESTS}: it must be a source distribution or a checkout of timm")
    every = [f"{family}_{arch}" for family in backbones.FAMILIES for arch in backbones.ARCHS]
    every += (*backbones.HIVIT_MODELS, *backbones.RS_VHEAT_MODELS)
    names = [name for name in every if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not names:
        raise SystemExit(f"--models: none of {', '.join(every)} matches {' '.join(patterns)}")
    here = ["-c", str(source / "pyproject.toml"), "--rootdir", str(source), "-p", "no:cacheprovider"]
    # A time limit says more of the machine, and one that strikes inside a checkpoint makes later tests fail.
    here += ["-p", "no:timeout", "-W", "ignore::pytest.PytestUnknownMarkWarning"]
    return pytest.main([*here, str(source / TESTS), *arguments], plugins=[OnlyThese(names)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=existing_folder, help="a checkout or an unpacked source distribution of timm")
    parser.add_argument("--models", nargs="+", default=["*_nano"], metavar="PATTERN", help="default: *_nano")
    args, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        return run(args.source or fetch(Path(folder)), args.models, arguments)


if __name__ == "__main__":
    sys.exit(main())
