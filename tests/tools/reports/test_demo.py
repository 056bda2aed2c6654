"""The demo's table and floors."""

from reports import demo


def test_floors():
    rows = {"a": {"box AP50": 80.0, "mask AP50": 60.0}, "b": {"mIoU": float("nan")}}
    floors = {"box AP50": 70.0, "mask AP50": 65.0, "mIoU": 30.0}
    assert demo.below_floor(rows, floors) == [
        "mask AP50 is 60.0, its floor is 65.0",
        "mIoU is nan, its floor is 30.0",
    ]
    assert all(floor > 0 for floor in demo.FLOORS.values())
    assert set(demo.FLOORS) == {"box AP50", "mask AP50", "mIoU"}


def test_table():
    rows = {"net": {"box AP": 56.34, "params (M)": 3.078, "train (s)": 202.4}, "other": {"mIoU": 45.8}}
    head, rule, first, second = demo.format_table(rows).splitlines()
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["model", *demo.COLUMNS]
    assert set(rule) == {"|", "-"} and len({len(line) for line in (head, rule, first, second)}) == 1
    assert [cell.strip() for cell in first.split("|")[1:-1]][:3] == ["net", "56.3", ""]
    assert "3.08" in first and "202" in first and "45.8" in second
