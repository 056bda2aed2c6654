"""The table: metrics of each method by task, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.tables import markdown, mean_and_error, over_seeds, shown
from training.runs import METRICS


def format_table(records: dict[str, dict[str, list[dict[str, Any]]]], seeds: Sequence[int]) -> str:
    """One line per method as Markdown, from the records of its seeds by method and task."""
    tasks = list(dict.fromkeys(task for row in records.values() for task in row))
    metrics = [(task, name) for task in tasks for name in METRICS[task].values()]
    costs = [f"{task}: {what}" for task in tasks for what in ("rate", "CPU s", "MB")]
    rows = []
    for method, row in records.items():
        first = row[tasks[0]]
        cells = [f"{first[0]['parameters']:,}"]
        cells += [shown(mean_and_error([r[name] for r in row[task]])) for task, name in metrics]
        for task in tasks:
            seconds, size = (sum(r[name] for r in row[task]) / len(row[task]) for name in ("seconds", "MB"))
            cells += [f"{row[task][0]['rate']:g}", f"{seconds:.0f}", f"{size:.2f}"]
        rows.append((method, *cells, len(first)))
    head = ["method", "backbone parameters trained", *(name for _, name in metrics), *costs, "seeds"]
    note = f"The metrics are {over_seeds(seeds)}; seconds and sizes are means."
    return f"{markdown(head, rows)}\n\n{note}"
