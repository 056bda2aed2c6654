"""Contenders take turns, and memory is what a run makes."""

import ast
from pathlib import Path

import pytest
import torch
from benchmarks import measuring

CPU = torch.device("cpu")


def test_contenders_take_turns():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    measuring.alternate(runs, CPU, rounds=3, seconds=0.0)
    assert order[-9:] == list("abcbcacab")


def test_kept_memory_is_what_backward_needs_and_the_result():
    layer, x = torch.nn.Linear(256, 256), torch.randn(1024, 256, requires_grad=True)
    found = measuring.kept_memory(lambda: torch.nn.functional.gelu(layer(x)).sum())
    assert found == pytest.approx(2**20, abs=100)  # the GELU's input; its output is needed by nothing


def test_what_was_made_before_a_run_does_not_count():
    held = []

    def run():
        held[:] = [torch.empty(2**20)]  # in the place of the last run's

    assert measuring.kept_memory(run) == 2**22


def test_peak_memory_counts_what_is_alive_at_once():
    def run():
        kept = torch.ones(2**18)  # 1 MiB
        torch.ones(2**20)  # 4 MiB, freed at once
        return kept + torch.ones(2**18)

    assert measuring.peak_memory(run, CPU) == pytest.approx(5.0, abs=0.01)


UNIX = {"resource", "fcntl", "termios", "tty", "pty", "pwd", "grp", "syslog"}
FILES = [p for p in (Path(__file__).resolve().parents[3] / "tools").rglob("*.py") if p.parent.name != "environment"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_tool_needs_a_module_that_windows_lacks(path):
    """But for the set-up, which `make` runs."""
    tops = ast.parse(path.read_text()).body
    names = {alias.name for node in tops if isinstance(node, ast.Import) for alias in node.names}
    assert not UNIX & (names | {node.module for node in tops if isinstance(node, ast.ImportFrom)})
