"""Fixtures shared by the folders: tiny data sets and the tools as modules."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # they share the cores, and so do what they start
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """What tools change in their process, torch's reader and handlers of signals, is not left to the next test."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    reader = os.environ.get(name)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    os.environ.pop(name, None)
    if reader is not None:
        os.environ[name] = reader
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def digit_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small digit-scenes data set."""
    from scenes.data_set import make_digit_scenes

    out = tmp_path_factory.mktemp("data") / "digit_scenes"
    assert make_digit_scenes(out, size=64, train=12, val=6, seed=3)
    return out


@pytest.fixture(scope="session")
def tree_crowns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree crowns, all of them: they take two seconds."""
    from data_sets.tree_crowns import make_tree_crowns

    out = tmp_path_factory.mktemp("data") / "tree_crowns"
    assert make_tree_crowns(out)
    return out


@pytest.fixture(scope="session")
def rs_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten, five and five synthetic remote-sensing scenes, and as many pairs, of 128 px."""
    from rs_scenes.data_set import make_rs_scenes

    out = tmp_path_factory.mktemp("data") / "rs_scenes"
    assert make_rs_scenes(out, size=128, train=10, val=5, test=5, seed=3)
    return out
