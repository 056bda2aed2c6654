"""The commit that figures are said to come from."""

import subprocess
from pathlib import Path

import pytest
from files import commit as module


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def test_changes_are_marked_and_new_files_are_not(repository: Path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
        return subprocess.run(["git", *who, *words], cwd=repository, capture_output=True, text=True, check=True).stdout

    (repository / "a").write_text("1")
    git("init", "-q")
    git("add", "a")
    git("commit", "-q", "-m", "a")
    head = git("rev-parse", "HEAD").strip()
    asked = module.commit.__wrapped__  # not what it said before
    assert asked() == head
    (repository / "b").write_text("2")
    assert asked() == head
    (repository / "a").write_text("2")
    assert asked() == head + "+"


def test_without_git_it_is_the_version(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "version", lambda name: f"{name} 1.0")
    assert module.commit.__wrapped__() == "spectral-operators 1.0"
