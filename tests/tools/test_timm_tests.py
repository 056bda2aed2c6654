"""timm's tests are pointed at the chosen models and at nothing else."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import timm_tests as tool

CONFIG = '[tool.pytest.ini_options]\nmarkers = ["forward: a marker of timm\'s"]\n'
TESTS = """
import pytest
from timm import list_models, list_pretrained

FILES = ["vision_transformer", "resnet"]


@pytest.mark.forward
@pytest.mark.parametrize("model_name", list_models(exclude_filters=["*_base"]))
def test_listed(model_name):
    assert model_name.startswith("v") and not model_name.endswith("_base")


@pytest.mark.parametrize("model_name", list_models(module=FILES, include_tags=True))
def test_listed_by_file(model_name):
    assert model_name != "vpoisson_nano", "as it should be seen"


@pytest.mark.parametrize("model_name", list_pretrained() + ["resnet18"])
def test_others(model_name):
    assert False


def test_of_timm_itself():
    assert False
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "pyproject.toml").write_text(CONFIG)
    (tmp_path / tool.TESTS).write_text(TESTS)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "outcome"), [((), 1, "1 failed, 8 passed"), (("-m", "forward"), 0, "4 passed")]
)
def test_only_the_chosen_models_run(arguments, code, outcome, source):
    """vHeat's tiny, small and nano and one more in the first test, base too in the second, where the one more fails."""
    command = [sys.executable, tool.__file__, "--source", source, "--models", "vheat_*", "vpoisson_nano", "-q"]
    done = subprocess.run([*map(str, command), *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, outcome in done.stdout) == (code, True), done.stdout
    assert ("as it should be seen" in done.stdout) == (code == 1)


def test_errors_say_what_to_do(source, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"none of vheat_nano, .* matches resnet\*"):
        tool.run(source, ["resnet*"], [])
    with pytest.raises(SystemExit, match="it must be a source distribution or a checkout of timm"):
        tool.run(source / "tests", ["*"], [])
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(tmp_path)), ("CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(SystemExit, match="give a checkout of that version as --source DIR"):
        tool.fetch(tmp_path)


def test_the_source_distribution_is_unpacked(tmp_path, monkeypatch):
    """Fetching, with a stand-in for pip."""

    def download(command, **_):
        assert "--no-deps" in command and command[-1] == f"timm=={tool.timm.__version__}"
        root = tmp_path / "made" / "timm-9.9"
        (root / "tests").mkdir(parents=True)
        (root / "timm").mkdir()
        for name in ("pyproject.toml", tool.TESTS, "timm/__init__.py"):
            (root / name).write_text("")
        with tarfile.open(Path(command[-2]) / "timm-9.9.tar.gz", "w:gz") as tar:
            tar.add(root, "timm-9.9")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(tool.subprocess, "run", download)
    (tmp_path / "here").mkdir()
    found = tool.fetch(tmp_path / "here")
    assert (found / tool.TESTS).is_file() and (found / "pyproject.toml").is_file() and not (found / "timm").exists()
