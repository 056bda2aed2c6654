"""The demo's progress lines, table and floors."""

import demo
import pytest
import report


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
    assert demo.progress(line) == shown


def test_a_failing_command_shows_its_last_lines(tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)the reason.*failed with status 3; full log: .*x.log"):
        demo.run(["sh", "-c", "echo the reason; exit 3"], tmp_path / "x.log")
    assert demo.run(["sh", "-c", "exit 0"], tmp_path / "y.log") >= 0


def test_floors():
    rows = {"a": {"box AP50": 80.0, "mask AP50": 60.0}, "b": {"mIoU": float("nan")}}
    floors = {"box AP50": 70.0, "mask AP50": 65.0, "mIoU": 30.0}
    assert report.below_floor(rows, floors) == [
        "mask AP50 is 60.0, its floor is 65.0",
        "mIoU is nan, its floor is 30.0",
    ]
    assert all(floor > 0 for floor in report.FLOORS.values())
    assert set(report.FLOORS) == {"box AP50", "mask AP50", "mIoU"}


def test_table():
    rows = {"net": {"box AP": 56.34, "params (M)": 3.078, "train (s)": 202.4}, "other": {"mIoU": 45.8}}
    head, rule, first, second = report.format_table(rows).splitlines()
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["model", *report.COLUMNS]
    assert set(rule) == {"|", "-"} and len({len(line) for line in (head, rule, first, second)}) == 1
    assert [cell.strip() for cell in first.split("|")[1:-1]][:3] == ["net", "56.3", ""]
    assert "3.08" in first and "202" in first and "45.8" in second


def test_records_and_missing_runs(tmp_path):
    (tmp_path / "log.json").write_text('{"loss": 1.5, "step": 1}\n{"mIoU": 40.0}\n')
    assert report.read_records(tmp_path / "log.json") == [{"loss": 1.5, "step": 1}, {"mIoU": 40.0}]
    with pytest.raises(FileNotFoundError, match="to the end first"):
        report.latest(tmp_path, "*.pth")
