"""The Python in README.md and docs/ runs as it stands, and the documents name what there is."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
PYTHON = (
    "README.md",
    "docs/from-pde-to-code.md",
    "docs/operators.md",
    "docs/what-is-diagonal.md",
    "docs/openmmlab.md",
    "docs/adapters.md",
    "docs/evaluation-analysis.md",
)
REFERENCE = {
    "spectral_ops": "spectral_ops",
    "spectral_ops.plot": "plot",
    "backbones": "backbones",
    "backbones.pretraining": "backbones_pretraining",
    "backbones.remote_sensing": "backbones_remote_sensing",
    "backbones.openmmlab": "backbones_openmmlab",
    "backbones.openmmlab.export": "backbones_openmmlab_export",
    "adapters": "adapters",
    "adapters.openmmlab": "adapters_openmmlab",
}


@pytest.mark.parametrize("name", PYTHON)
def test_python_blocks_run_in_order(name, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert blocks
    torch.manual_seed(0)
    module = ModuleType("document")  # which timm asks for where models are registered
    monkeypatch.setitem(sys.modules, "document", module)
    for block in blocks:
        exec(compile(block, name, "exec"), vars(module))


RECIPE = {
    "aug": {"policy": "none", "erasing": 0.0},
    "nas": {"operator": "heat", "width": 16, "depth": 1},
    "hpo": {"lr": 1e-3, "opt": "adamw"},
}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("docs/pretraining.md", {}),
        ("docs/search.md", {"train": lambda **values: 0.5, "default_recipe": RECIPE, "n_trials": 2}),
    ],
)
def test_python_blocks_run_with_what_the_reader_has(name, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        short = re.sub(r"n_trials=\d+", "n_trials=n_trials", block)
        exec(compile(short, name, "exec"), dict(given))


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_has_every_public_name(name):
    module = importlib.import_module(name)
    text = (ROOT / f"docs/api/{REFERENCE[name]}.rst").read_text()
    if re.search(rf"automodule:: {name}\n(?!   :no-members:)", text):
        return  # all of them, by themselves
    documented = re.findall(r"^\.\. (?:auto|py:)(?:class|function|data):: (?:[\w.]+\.)?(\w+)$", text, re.MULTILINE)
    assert set(module.__all__) <= set(documented)
    assert len(set(documented)) == len(documented)


def test_the_table_of_sizes_is_current():
    from backbones import ARCHS

    text = (ROOT / "docs/models.md").read_text()
    for name, arch in ARCHS.items():
        widths, blocks = (", ".join(map(str, arch[key])) for key in ("dims", "depths"))
        assert f"\n| {name} | {widths} | {blocks} | {arch.get('norm_placement', 'pre')} |\n" in text


def test_the_table_of_findings_is_current():
    from checks.findings import KINDS
    from reports.tables import line

    text = (ROOT / "docs/data.md").read_text()
    rows = [line((f"`{n}`", "error" if k.error else "warning", k.what, k.cure)) for n, k in KINDS.items()]
    assert "\n".join(rows) in text


def test_pictures_of_the_readme_are_small_and_there():
    names = re.findall(r"!\[[^]]+\]\((docs/pictures/[^)]+)\)", (ROOT / "README.md").read_text())
    sizes = [(ROOT / name).stat().st_size for name in names]
    assert len(set(names)) >= 3 and max(sizes) < 150_000 and sum(sizes) < 500_000
