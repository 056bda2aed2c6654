"""Tables of a record."""

from benchmarks.tables import format_tables


def test_tables(record):
    text = format_tables(record(10.0, 15.0))
    assert "machine M" in text and "| c | 10 ms, 10 MiB | 15 ms, **1.50**, 10 MiB |" in text
