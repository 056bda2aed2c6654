"""The command that makes the digit scenes."""

import subprocess
import sys


def test_command_line(root, tmp_path):
    command = [sys.executable, root / "tools/make_digit_scenes.py", "--out", tmp_path / "d", "--size", "64"]
    result = subprocess.run([*command, "--train", "2", "--val", "1"], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0 and "2 + 1 scenes of 64 px" in result.stdout
    result = subprocess.run([*command, "--train", "0"], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2 and "train and val >= 1" in result.stderr
