"""What tools/benchmark.py recorded, as tables."""

from __future__ import annotations

from typing import Any

from reports.tables import markdown

Record = dict[str, Any]


def format_tables(record: Record) -> str:
    """Markdown: the environment, and a table for each group."""
    environment = record["environment"]
    lines = ["# Measured", "", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in environment.items()), ""]
    for group in record["groups"].values():
        lines += [f"## {group['title']}", "", f"Commit {group['commit']}.", "", _table(group["cases"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(cases: dict[str, Any]) -> str:
    names = list(dict.fromkeys(name for case in cases.values() for name in case))
    memory = any(figure["peak_mib"] is not None for case in cases.values() for figure in case.values())
    rows = ([title, *(_cell(case, name, memory) for name in names)] for title, case in cases.items())
    return markdown(["", *names], rows)


def _cell(case: dict[str, Any], name: str, memory: bool) -> str:
    if name not in case:
        return "-"
    figure, first = case[name], next(iter(case))
    time = figure["milliseconds"]
    text = f"{time:.0f} ms" if time >= 100 else f"{time:.3g} ms"
    if name != first:
        text += f", **{time / case[first]['milliseconds']:.2f}**"
    if memory and figure["peak_mib"] is not None:
        text += f", {figure['peak_mib']:.0f} MiB"
    if figure["error"] is not None:
        text += f", {figure['error']:.0e}"
    return text
