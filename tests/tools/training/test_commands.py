"""A command's progress, and its end."""

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
