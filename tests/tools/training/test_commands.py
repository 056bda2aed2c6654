"""A command's progress, and its end."""

import threading
import time

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
