"""Measure the operators, networks and adapters beside their competitors, and compare with a record.

    python tools/benchmark.py [--groups transforms inference ...] [--rounds 9] [--device cpu] [--check]

Contenders of a case run in turn in this process, each warmed up; figures are medians. Tables give for each contender
the time, in bold that time over ours (above 1 we are faster), peak memory of tensors and the relative error against
float64. Writes record.json, record.md and plots to --out. All groups take about 35 minutes on two cores, which should
have nothing else to do.

--check compares the ratio of each contender to each of ours with docs/benchmarks/MACHINE.json, and fails where one of
ours is more than 5 % worse, in the median over the others of its case; such cases are measured again first, twice as
long, up to three times, and count by their best. --update puts this run's groups into that record, its tables and
plots. Ratios carry over to other machines only in part, so there is one record for each type of machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
from _benchmark_cases import Case, groups
from _benchmark_measure import alternate, as_record, environment, peak_memory, relative_error
from _benchmark_report import format_tables, plot, ratios, regressions, series

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "docs" / "benchmarks"
TOLERANCE = 0.05
RETRIES = 3


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


def run_groups(names: list[str], device: torch.device, rounds: int, seconds: float) -> dict[str, Any]:
    """A record of these groups."""
    described = environment(device)
    commit = described.pop("commit")
    record: dict[str, Any] = {"environment": described, "groups": {}}
    for name in names:
        group = groups(device)[name]
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


def check(record: dict[str, Any], path: Path, device: torch.device, rounds: int, seconds: float) -> list[str]:
    """What became slower against the record of this type of machine, after a second and third look."""
    if not path.is_file():
        return [f"there is no record of this type of machine, {path.name}; make one with --update"]
    best, reference = ratios(record), ratios(json.loads(path.read_text()))
    for _ in range(RETRIES):
        for group, title in dict.fromkeys(slower[:2] for slower in regressions(best, reference, TOLERANCE)):
            print(f"again: {group}, {title}", flush=True)
            case = next(case for case in groups(device)[group].cases if case.name == title)
            again = ratios({"groups": {group: {"cases": {title: measure(case, device, 2 * rounds, seconds)}}}})
            best |= {pair: max(ratio, best[pair]) for pair, ratio in again.items()}
    return [
        f"{slower.group}, {slower.case}: {slower.ours} has {slower.left:.2f} of its speed beside the others"
        for slower in regressions(best, reference, TOLERANCE)
    ]


def write(record: dict[str, Any], folder: Path, name: str) -> None:
    """The record as JSON and as tables, and plots of its series."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    plots = {key: group for key, group in record["groups"].items() if series(group, "milliseconds")}
    for key, group in plots.items():
        plot(group, folder / f"{name}-{key}.svg")
    shown = [f"![{group['title']}]({name}-{key}.svg)\n" for key, group in plots.items()]
    (folder / f"{name}.md").write_text("\n".join([format_tables(record), *shown]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list(groups(torch.device("cpu")))
    parser.add_argument("--groups", nargs="+", choices=known, default=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--rounds", type=int, default=9, help="samples of each contender")
    parser.add_argument("--seconds", type=float, default=0.05, help="least time of a sample")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "work_dirs" / "benchmark")
    parser.add_argument("--check", action="store_true", help="fail where one of ours is 5 %% slower than in the record")
    parser.add_argument("--update", action="store_true", help="put this run's groups into the record")
    args = parser.parse_args()
    device = torch.device(args.device)
    record = run_groups(args.groups, device, args.rounds, args.seconds)
    path = RECORDS / f"{machine_name(record['environment'])}.json"
    problems = check(record, path, device, args.rounds, args.seconds) if args.check else []
    write(record, args.out, "record")
    if args.update:
        if path.is_file():
            kept = json.loads(path.read_text())["groups"] | record["groups"]
            record["groups"] = {name: kept[name] for name in known if name in kept}
        write(record, RECORDS, path.stem)
    print(f"wrote {args.out}")
    if problems:
        sys.exit("\n".join(["slower than the record:", *problems]))


if __name__ == "__main__":
    main()
