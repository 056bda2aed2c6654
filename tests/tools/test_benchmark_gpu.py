"""Without a GPU the benchmark explains itself and refuses to run."""

import subprocess
import sys

import pytest
import torch


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2)])
def test_without_a_gpu(arguments, code, root):
    if not arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, str(root / "tools" / "benchmark_gpu.py"), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stderr
    assert "--sections" in run.stdout if arguments else "needs a CUDA GPU" in run.stderr
