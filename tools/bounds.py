"""Prove the versions that setup.cfg states: install the lowest or the newest of all it names, and run the tests.

    python tools/bounds.py lowest [--python PATH]     # by default python3.10, the oldest there may be
    python tools/bounds.py highest [--python PATH]    # by default python3.13

It makes an environment of about 6 GB in work_dirs/bounds, or brings the one there up to date. mmcv, mmdet and mmseg are
left out, whose versions are compiled and pinned together: `make test` proves those.
"""

from __future__ import annotations

import argparse
import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = {"lowest": "python3.10", "highest": "python3.13"}
EXTRAS = ("fft", "timm", "peft", "plot", "tests")
#: What needs the packages that are left out.
WITHOUT = (
    "backbones/openmmlab",
    "adapters/openmmlab.py",
    "tests/backbones/openmmlab",
    "tests/adapters/test_openmmlab.py",
)
#: What the oldest versions cannot do, and why.
BEYOND = {
    "lowest": {
        "tests/spectral_ops/test_fused.py": "Triton 3.2 lacks the switches of its interpreter that the tests use",
        "tests/backbones/test_device.py": "torch 2.6 has no fake tensors of a GPU where there is none",
        "tests/adapters/test_tools.py::test_export_with_dynamic_sizes": "torch 2.6 exports base models only",
        "tests/adapters/test_tools.py::test_torch_fx_says_what_works": "torch 2.6 fails in timm's attention before",
    },
    "highest": {},
}
TESTS = ("tests/spectral_ops", "tests/backbones", "tests/adapters", "spectral_ops", "backbones", "adapters")


def stated() -> list[str]:
    """What setup.cfg asks for, as ``name>=version``."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in EXTRAS)]
    return sorted({line.strip() for text in texts for line in text.splitlines() if line.strip()})


def wanted(bound: str) -> list[str]:
    """The requirements of one end: the versions that are stated, or no version at all."""
    if bound == "lowest":
        lowest: dict[str, str] = {}
        for line in stated():  # an extra may ask for more than the whole
            name, version = line.split(">=")
            key = [int(n) for n in version.split(".")]
            if name not in lowest or key > [int(n) for n in lowest[name].split(".")]:
                lowest[name] = version
        return [f"{name}=={version}" for name, version in lowest.items()]
    return sorted({re.split("[><=]", line)[0] for line in stated()})


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
    install = [python, "-m", "pip", "install", "--quiet", "--upgrade", *wanted(args.bound)]
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
