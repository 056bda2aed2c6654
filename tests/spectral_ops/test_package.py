"""The package as a whole: what it imports and what it exports."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import spectral_ops

MODULES = ["spectral_ops", *(f"spectral_ops.{module.name}" for module in pkgutil.iter_modules(spectral_ops.__path__))]

IMPORT_ALONE = """
import sys

BLOCKED = {"timm", "mmcv", "mmengine", "mmdet", "mmseg", "mmpretrain", "peft", "transformers", "torchvision",
           "backbones", "adapters", "scipy", "numpy", "einops", "torch_dct", "hypothesis", "pytest"}


class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)


sys.meta_path.insert(0, Block())
import torch
import torch.fx.experimental.symbolic_shapes  # and sympy, which some versions of torch import later

before = set(sys.modules)
import spectral_ops

imported = set(sys.modules) - before
packages = {name.partition(".")[0] for name in imported}
assert packages <= {"spectral_ops", "torch"} | sys.stdlib_module_names, packages
assert "torch._dynamo" not in imported, "an import that costs seconds"

heat = spectral_ops.Heat(0.3, dims=(1, 2))
mixer = spectral_ops.SpectralMixer(4, 0.5 * heat @ heat + spectral_ops.Heat(spectral_ops.Softplus(), dims=(1, 2)))
mixer(torch.randn(2, 6, 7, 4)).sum().backward()
print("alone", *sorted(BLOCKED & set(sys.modules)))
"""


def test_imports_torch_and_nothing_else():
    command = [sys.executable, "-W", "ignore", "-c", IMPORT_ALONE]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "alone\n"), run.stderr


@pytest.mark.parametrize("name", MODULES)
def test_what_is_exported_exists(name):
    module = importlib.import_module(name)
    assert module.__doc__
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported) and all(hasattr(module, item) for item in exported)


@pytest.mark.parametrize("name", spectral_ops.__all__)
def test_what_is_public_is_documented(name):
    assert spectral_ops.__all__ == sorted(spectral_ops.__all__)
    assert getattr(spectral_ops, name).__doc__
