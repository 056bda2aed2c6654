"""Records: cases measured, on what and at which commit, and the files of a record."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from files.commit import commit

from benchmarks.calibration import calibrate
from benchmarks.case import Absent, Case, Group
from benchmarks.machine import libraries, machine
from benchmarks.measuring import Figure, alternate, as_record, peak_memory, relative_error
from benchmarks.plots import plot, series
from benchmarks.tables import format_tables


def measure(case: Case, device: torch.device, rounds: int, seconds: float) -> dict[str, Any]:
    """The figures of all contenders of a case; of those that cannot run here why."""
    torch.manual_seed(0)
    made, exact = case.make(device)
    runs = {name: run for name, run in made.items() if not isinstance(run, Absent)}
    rounds = min(rounds, case.rounds or rounds)
    found = as_record(alternate(runs, device, rounds, seconds))
    for name, run in runs.items():
        if case.memory:
            found[name]["peak_mib"] = float(f"{peak_memory(run, device):.4g}")
        result = exact.get(name) if isinstance(exact, dict) else exact if name in case.compared else None
        if result is not None:
            found[name]["error"] = float(f"{relative_error(run(), result):.2g}")
    nothing = dict.fromkeys(Figure.__dataclass_fields__)
    return {
        name: {**nothing, "absent": run.reason} if isinstance(run, Absent) else found[name]
        for name, run in made.items()
    }


def timed(case: dict[str, Any]) -> dict[str, float]:
    """The times of the contenders of a case that could run."""
    return {name: figure["milliseconds"] for name, figure in case.items() if figure["milliseconds"] is not None}


def run_groups(groups: dict[str, Group], device: torch.device, rounds: int, seconds: float) -> dict[str, Any]:
    """A record of these groups: the machine, the run by its commit, and what was measured in it."""
    run = commit()
    record: dict[str, Any] = {
        "machine": machine(device),
        "runs": {run: {"libraries": libraries(), "calibration": calibrate(device)}},
        "groups": {},
    }
    for name, group in groups.items():
        print(group.title, flush=True)
        cases = {}
        for case in group.cases:
            cases[case.name] = measure(case, device, rounds, seconds)
            times = ", ".join(f"{k} {v:.4g}" for k, v in timed(cases[case.name]).items())
            print(f"  {case.name}: {times} ms", flush=True)
            gc.collect()
        pixels = {case.name: case.pixels for case in group.cases if case.pixels}
        record["groups"][name] = {
            "title": group.title,
            "commit": run,
            "pixels": pixels,
            "matrix": group.matrix,
            "cases": cases,
        }
    return record


def merged(old: dict[str, Any], new: dict[str, Any], order: Iterable[str]) -> dict[str, Any]:
    """An older record of the same type of machine with the groups of a newer one, and the runs that these are of."""
    groups = {**old["groups"], **new["groups"]}
    groups = {name: groups[name] for name in order if name in groups}
    commits = {group["commit"] for group in groups.values()}
    runs = {name: run for name, run in {**old["runs"], **new["runs"]}.items() if name in commits}
    return {"machine": new["machine"], "runs": runs, "groups": groups}


def write(record: dict[str, Any], folder: Path, name: str) -> None:
    """The record as JSON and as tables, and plots of its series."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    plots = {key: group for key, group in record["groups"].items() if series(group, "milliseconds")}
    for key, group in plots.items():
        plot(group, folder / f"{name}-{key}.svg")
    shown = [f"![{group['title']}]({name}-{key}.svg)\n" for key, group in plots.items()]
    (folder / f"{name}.md").write_text("\n".join([format_tables(record), *shown]))
