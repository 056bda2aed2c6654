"""The table of a transfer."""

from studies.transfer.table import format_table


def test_table():
    def record(**metrics):
        return {**metrics, "parameters": 16_192, "rate": 3.0, "seconds": 60.0, "MB": 5.0}

    row = {
        "detection": [record(**{"box AP": 40.0, "mask AP": 30.0}), record(**{"box AP": 44.0, "mask AP": 30.0})],
        "segmentation": [record(mIoU=50.0), record(mIoU=52.0)],
    }
    lines = format_table({"lora": row}, [0, 1]).splitlines()
    assert lines[0].startswith("| method | backbone parameters trained | box AP | mask AP | mIoU | detection: rate")
    assert lines[2] == "| lora | 16,192 | 42.0 ± 2.0 | 30.0 ± 0.0 | 51.0 ± 1.0 | 3 | 60 | 5.00 | 3 | 60 | 5.00 | 2 |"
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert lines[3:] == [
        "",
        "The metrics are mean ± standard error over seeds 0, 1 (n = 2); seconds and sizes are means.",
    ]
