"""A command's progress, and its end."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from training import commands


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "11/20 - mmengine - INFO - Iter(train) [ 40/500]  base_lr: 1e-3 eta: 0:02:46  time: 0.4  loss: 3.301"
            "  loss_rpn_cls: 0.5",
            "  train 40/500  loss 3.30  0:02:46 left",
        ),
        ("11/20 - mmengine - INFO - Iter(val) [20/25]    eta: 0:00:01  time: 0.2  ", "  val 20/25  0:00:01 left"),
        (
            "Iter(train) [100/9]  eta: 1 day, 2:03:04  time: 1  loss: 2.0",
            "  train 100/9  loss 2.00  1 day, 2:03:04 left",
        ),
        ("loading annotations into memory...", None),
    ],
)
def test_progress_is_a_short_form_of_the_log(line, shown):
    assert commands.progress(line) == shown


def test_a_failing_command_shows_its_last_lines(tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)the reason.*failed with status 3; full log: .*x.log"):
        commands.run(["sh", "-c", "echo the reason; exit 3"], tmp_path / "x.log")
    assert commands.run(["sh", "-c", "exit 0"], tmp_path / "y.log") >= 0


def test_commands_in_other_threads_can_be_stopped(tmp_path):
    ended = []

    def start():
        try:
            commands.run(["sh", "-c", "echo up; exec sleep 60"], tmp_path / "z.log", {"A": "b"}, "[z]")
        except SystemExit as error:
            ended.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    while not (commands._RUNNING or ended):
        time.sleep(0.01)
    commands.stop_all()
    thread.join(30)
    assert ended and "failed with status -15" in ended[0] and not commands._RUNNING


CHILD = """
import os, pathlib, time
from training.commands import end_with_parent
end_with_parent()
pathlib.Path("pid").write_text(str(os.getpid()))
pathlib.Path("pid").rename("is_there")
time.sleep(60)
pathlib.Path("left_alone").touch()
"""
PARENT = """
import sys
from pathlib import Path
from training.commands import run
run([sys.executable, "-c", f"import os; os.chdir({sys.argv[1]!r})" + sys.argv[2]], Path(sys.argv[1], "log"))
"""


def test_a_command_ends_with_the_one_that_started_it(tmp_path):
    """Which is killed, and cannot stop anything itself."""
    path = os.pathsep.join([str(Path(commands.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", PARENT, str(tmp_path), CHILD]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as parent:
        while not (tmp_path / "is_there").exists():
            assert parent.poll() is None
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
    child = int((tmp_path / "is_there").read_text())
    while _runs(child):
        time.sleep(0.05)
    assert not (tmp_path / "left_alone").exists()


def test_a_training_ends_with_its_torchrun(tmp_path):
    """Which dies by a signal that it does not pass on, and would leave it behind."""
    path = os.pathsep.join([str(Path(commands.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    torchrun = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    environment = {**os.environ, "PYTHONPATH": path, "TORCHELASTIC_RUN_ID": "none"}
    with subprocess.Popen([sys.executable, "-c", torchrun, CHILD], cwd=tmp_path, env=environment) as parent:
        while not (tmp_path / "is_there").exists():
            assert parent.poll() is None
            time.sleep(0.05)
        parent.send_signal(signal.SIGUSR1)
    child = int((tmp_path / "is_there").read_text())
    while _runs(child):
        time.sleep(0.05)
    assert not (tmp_path / "left_alone").exists()


def _runs(process):
    try:
        return "(zombie)" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_who_was_started_by_one_that_has_ended_ends(monkeypatch):
    monkeypatch.setenv("STARTED_BY", "1" if os.getppid() != 1 else "2")
    monkeypatch.setattr(commands.ctypes, "CDLL", lambda name: SimpleNamespace(prctl=lambda *arguments: 0))
    with pytest.raises(SystemExit) as ended:
        commands.end_with_parent()
    assert ended.value.code == 143 and "STARTED_BY" not in os.environ
    commands.end_with_parent()
