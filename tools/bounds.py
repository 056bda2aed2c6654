"""Prove the versions that setup.cfg states: install the lowest or the newest of all it names, and run the tests.

    python tools/bounds.py lowest [--python PATH]     # by default python3.10, the oldest there may be
    python tools/bounds.py highest [--python PATH]    # by default python3.13

It makes an environment of about 6 GB in work_dirs/bounds, or brings the one there up to date. mmcv, mmdet, mmseg and
mmrotate are left out, whose versions are compiled and pinned together: `make test` proves those. So are the tools that
build the pages and check the code.
"""

from __future__ import annotations

import argparse
import configparser
import os
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PYTHON = {"lowest": "python3.10", "highest": "python3.13"}
#: Extras whose packages are not installed: an extra that is added later is proven unless it is named here.
LEFT_OUT = {"mm", "rotated", "docs", "dev"}
#: What needs the packages that are left out.
WITHOUT = (
    "backbones/openmmlab",
    "adapters/openmmlab.py",
    "tests/backbones/openmmlab",
    "tests/adapters/test_openmmlab.py",
)
#: What the oldest and the newest versions cannot do, and why.
BEYOND = {
    "lowest": {
        "tests/spectral_ops/test_fused.py": "Triton 3.2 lacks the switches of its interpreter that the tests use",
        "tests/backbones/test_device.py": "torch 2.6 has no fake tensors of a GPU where there is none",
        "tests/adapters/test_tools.py::test_export_with_dynamic_sizes": "torch 2.6 exports base models only",
        "tests/adapters/test_tools.py::test_torch_fx_says_what_works": "torch 2.6 fails in timm's attention before",
    },
    "highest": {
        f"tests/adapters/test_hugging_face.py::{test}": "transformers 5.24 asks for PEFT 0.22, which is not out"
        for test in (
            "test_add_save_and_load",
            "test_several_adapters",
            "test_shared_coefficients_are_refused",
            "test_checkpointing_with_gradients_of_the_embeddings",
        )
    },
}
TESTS = ("tests/spectral_ops", "tests/backbones", "tests/adapters", "spectral_ops", "backbones", "adapters")


def stated(text: str) -> list[Requirement]:
    """What a setup.cfg asks for, of the library and of every extra but those left out: one of each package."""
    config = configparser.ConfigParser()
    config.read_string(text)
    lists = [
        config["options"]["install_requires"],
        *(lines for extra, lines in config["options.extras_require"].items() if extra not in LEFT_OUT),
    ]
    found: dict[str, Requirement] = {}
    for line in (line.strip() for lines in lists for line in lines.splitlines()):
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            known = found.setdefault(requirement.name, requirement)
            known.specifier &= requirement.specifier  # an extra may ask for more than the whole
    return sorted(found.values(), key=lambda requirement: requirement.name)


def wanted(bound: str, requirements: list[Requirement]) -> list[str]:
    """The requirements of one end: the lowest version that is stated, or all but what is stated about the lowest."""
    lines = []
    for requirement in requirements:
        starts = [part for part in requirement.specifier if part.operator in (">=", "==", "~=")]
        if not starts:
            raise ValueError(f"setup.cfg states no lowest version of {requirement.name}: {requirement}")
        if bound == "lowest":
            lowest = max(starts, key=lambda part: Version(part.version)).version
            kept = SpecifierSet(f"=={lowest}")
        else:
            kept = SpecifierSet(",".join(str(part) for part in requirement.specifier if part.operator != ">="))
        lines.append(f"{requirement.name}{kept}")
    return lines


def run(*command: str | Path) -> int:
    print("+", *command, flush=True)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([str(part) for part in command], cwd=ROOT, env=environ, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bound", choices=PYTHON)
    parser.add_argument("--python", help="interpreter to make the environment with")
    args = parser.parse_args()
    folder = ROOT / "work_dirs/bounds" / args.bound
    python = folder / "bin/python"
    packages = wanted(args.bound, stated((ROOT / "setup.cfg").read_text()))
    install = [python, "-m", "pip", "install", "--quiet", "--upgrade", *packages]
    if not python.exists() and run(args.python or PYTHON[args.bound], "-m", "venv", folder):
        return 1
    if run(*install):
        return 1
    run(python, "-m", "pip", "list", "--format=freeze")
    # Old packages warn of what later ones changed: only ours is asked to be free of warnings, by `make test`.
    options = ["-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default", "--disable-warnings"]
    for path, reason in BEYOND[args.bound].items():
        print(f"left out: {path}: {reason}")
    without = [*(f"--ignore={path}" for path in WITHOUT), *(f"--deselect={path}" for path in BEYOND[args.bound])]
    return run(python, "-m", "pytest", *options, *without, *TESTS)


if __name__ == "__main__":
    sys.exit(main())
