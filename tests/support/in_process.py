"""Commands of tools/ run in this process, which is afterwards as it was."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mmengine.runner.checkpoint import CheckpointLoader

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@contextmanager
def own_readers() -> Iterator[pytest.MonkeyPatch]:
    """What ``read_safely`` changes is undone at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))
        patch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
        yield patch


def run(tool: str, *arguments: object) -> int | str:
    """What a command ends with: a number, or a text for 1."""
    with own_readers() as patch:
        patch.setattr(sys, "path", [str(TOOLS), *sys.path])
        patch.setattr(sys, "argv", [tool, *map(str, arguments)])
        try:
            runpy.run_path(str(TOOLS / tool), run_name="__main__")
        except SystemExit as ended:
            return ended.code or 0
    return 0
