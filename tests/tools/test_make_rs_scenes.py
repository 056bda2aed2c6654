"""The command that makes the synthetic remote-sensing scenes."""

import subprocess
import sys


def test_command_line(root, tmp_path):
    command = [sys.executable, root / "tools/make_rs_scenes.py", "--out", tmp_path / "d", "--size", "128"]
    counts = ["--train", "5", "--val", "5", "--test", "5"]
    for state in ("written", "already there"):
        result = subprocess.run([*command, *counts], capture_output=True, text=True, cwd=tmp_path)
        assert result.returncode == 0 and f"d: {state}, 5 + 5 + 5 synthetic scenes of 128 px" in result.stdout
    assert (tmp_path / "d" / "meta.json").is_file()
    result = subprocess.run([*command, "--train", "0"], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2 and "train must be >= 5" in result.stderr
