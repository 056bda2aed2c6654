"""Records: cases measured, on what and at which commit, and the files of a record."""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path
from typing import Any

import torch

from benchmarks.case import Case, Group
from benchmarks.measuring import alternate, as_record, environment, peak_memory, relative_error
from benchmarks.plots import plot, series
from benchmarks.tables import format_tables


def measure(case: Case, device: torch.device, rounds: int, seconds: float) -> dict[str, Any]:
    """The figures of all contenders of a case."""
    torch.manual_seed(0)
    runs, exact = case.make(device)
    rounds = min(rounds, case.rounds or rounds)
    found = as_record(alternate(runs, device, rounds, seconds))
    for name, run in runs.items():
        if case.memory:
            found[name]["peak_mib"] = float(f"{peak_memory(run, device):.4g}")
        if exact is not None and name in case.compared:
            found[name]["error"] = float(f"{relative_error(run(), exact):.2g}")
    return found


def machine_name(described: dict[str, Any]) -> str:
    """A file name for the type of machine."""
    text = f"{described['machine']} {described['threads']} threads"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def run_groups(groups: dict[str, Group], device: torch.device, rounds: int, seconds: float) -> dict[str, Any]:
    """A record of these groups."""
    described = environment(device)
    commit = described.pop("commit")
    record: dict[str, Any] = {"environment": described, "groups": {}}
    for name, group in groups.items():
        print(group.title, flush=True)
        cases = {}
        for case in group.cases:
            cases[case.name] = measure(case, device, rounds, seconds)
            times = ", ".join(f"{k} {v['milliseconds']:.4g}" for k, v in cases[case.name].items())
            print(f"  {case.name}: {times} ms", flush=True)
            gc.collect()
        pixels = {case.name: case.pixels for case in group.cases if case.pixels}
        record["groups"][name] = {"title": group.title, "commit": commit, "pixels": pixels, "cases": cases}
    return record


def write(record: dict[str, Any], folder: Path, name: str) -> None:
    """The record as JSON and as tables, and plots of its series."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    plots = {key: group for key, group in record["groups"].items() if series(group, "milliseconds")}
    for key, group in plots.items():
        plot(group, folder / f"{name}-{key}.svg")
    shown = [f"![{group['title']}]({name}-{key}.svg)\n" for key, group in plots.items()]
    (folder / f"{name}.md").write_text("\n".join([format_tables(record), *shown]))
