"""The peak of a process is its own, whoever has started it."""

import subprocess
import sys
from pathlib import Path

from backbones.training import memory
from backbones.training.memory import peak_memory_of_process

#: From its file, since importing the package takes torch's seconds, and its memory.
FUNCTION = f"import runpy; peak = runpy.run_path({memory.__file__!r})['peak_memory_of_process']; "


def told(code):
    done = subprocess.run([sys.executable, "-c", FUNCTION + code], capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]


def test_what_was_and_is_no_more_counts():
    first, after = told("print(peak()); large = b'1' * (peak() + 2**27); del large; print(peak())")
    assert after > first + 2**26


def test_it_is_not_that_of_the_process_which_started_it():
    (alone,) = told("print(peak())")
    starter = "import subprocess, sys; large = b'1' * 4 * peak(); subprocess.run([sys.executable, '-c', sys.argv[0]])"
    (beside,) = told(starter.replace("sys.argv[0]", repr(FUNCTION + "print(peak())")))
    assert beside < 1.5 * alone


def test_where_python_has_no_count_of_it(monkeypatch):
    monkeypatch.setattr(memory, "Path", lambda _: Path("/not/there"))
    assert peak_memory_of_process() > 10_000_000  # by what Unix has
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert peak_memory_of_process() is None
