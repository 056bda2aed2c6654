"""Tables of a record."""

from benchmarks.tables import format_tables


def test_tables(record):
    text = format_tables(record(10.0, 15.0))
    assert text.startswith("# M (family 25, model 17), W, 2 threads\n")
    assert "Commit C: torch 2." in text and "| copy, GB/s | 20.5 |" in text
    assert "| c | 10 ms, 10 MiB | 15 ms, **1.50**, 10 MiB |" in text


def test_what_is_known_of_a_record_stands_in_its_head(record):
    made = record(10.0, 15.0)
    made["machine"]["note"] = "Another may have this name."
    assert "\nAnother may have this name.\n" in format_tables(made)


def test_a_contender_that_cannot_run_has_its_reason_in_its_cell(record):
    made = record(10.0, 15.0)
    case = made["groups"]["g"]["cases"]["c"]
    case["third"] = {**case["other"], "milliseconds": None, "peak_mib": None, "absent": "not installed"}
    assert "**1.50**, 10 MiB | not installed |" in format_tables(made)


def test_networks_and_runtimes_are_rows_and_columns(record):
    made = record(10.0, 15.0)
    group = made["groups"]["g"]

    def figure(time, **more):
        return {"milliseconds": time, "spread": 0.0, "peak_mib": None, "error": None, **more}

    group |= {"matrix": True}
    group["cases"] = {
        "c": {
            "ours, eager": figure(10.0),
            "ours, fast": figure(8.0, error=1e-6),
            "Swin, eager": figure(6.0),
            "Swin, fast": figure(None, absent="not installed"),
        }
    }
    text = format_tables(made)
    assert "| c: eager | 10 ms | 6 ms, **0.60** |" in text
    assert "| c: fast | 8 ms, 1e-06 | not installed |" in text
    assert "| **c: best of each** | 8 ms, 1e-06 (fast) | 6 ms, **0.75** (eager) |" in text
