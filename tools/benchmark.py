"""Measure the operators, networks and adapters beside their competitors, and compare with a record.

    python tools/benchmark.py [--groups transforms inference ...] [--rounds 9] [--device cpu] [--check]

Contenders of a case run in turn in this process, each warmed up; figures are medians. Tables give for each contender
the time, in bold that time over ours (above 1 we are faster), peak memory of tensors and the relative error against
float64. Writes record.json, record.md and plots to --out. All groups take about 35 minutes on two cores, which should
have nothing else to do.

--check compares the ratio of each contender to each of ours with docs/benchmarks/MACHINE.json, and fails where one of
ours is more than 5 % worse, in the median over the others of its case; such cases are measured again first, twice as
long, up to three times, and count by their best. --update puts this run's groups into that record, its tables and
plots, as --check does where there is none. Ratios carry over to other machines only in part, so there is one record for
each type of machine, by its processor's vendor, family and model, its vector width and the number of threads.

--ranges measures nothing: it prints between what the claims of docs/performance.md lie over all records, or, with
names of groups, each contender's time over the first one's.
"""

from __future__ import annotations

import argparse
import json
import sys

import torch
from benchmarks.claims import claimed, ranges_of
from benchmarks.comparison import check
from benchmarks.groups import groups
from benchmarks.machine import machine_name
from benchmarks.records import merged, run_groups, write
from files.arguments import output_folder
from files.paths import ROOT, RUNS

RECORDS = ROOT / "docs" / "benchmarks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = groups(torch.device("cpu"))
    known, usual = list(every), [name for name, group in every.items() if not group.on_request]
    slow = ", ".join(name for name in known if name not in usual)
    parser.add_argument(
        "--groups", nargs="+", choices=known, default=usual, metavar="NAME",
        help=f"{', '.join(usual)}; on request {slow}",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=9, help="samples of each contender")
    parser.add_argument("--seconds", type=float, default=0.05, help="least time of a sample")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=output_folder, default=RUNS / "benchmark")
    parser.add_argument("--check", action="store_true", help="fail where one of ours is 5 %% slower than in the record")
    parser.add_argument("--update", action="store_true", help="put this run's groups into the record")
    parser.add_argument("--ranges", nargs="*", choices=known, metavar="NAME", help="print ranges over all records")
    args = parser.parse_args()
    if args.ranges is not None:
        records = {path.stem: json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))}
        print("\n\n".join(ranges_of(name, records) for name in args.ranges) or claimed(records))
        return
    device = torch.device(args.device)
    every = groups(device)
    chosen = {name: every[name] for name in args.groups}
    record = run_groups(chosen, device, args.rounds, args.seconds)
    path = RECORDS / f"{machine_name(record['machine'])}.json"
    kept, problems = json.loads(path.read_text()) if path.is_file() else None, []
    if args.check and kept:
        if new := [name for name in chosen if name not in kept["groups"]]:
            print(f"not in {path.name}, so not compared: {', '.join(new)}; --update records them")
        problems = check(record, kept, chosen, device, args.rounds, args.seconds)
    write(record, args.out, "record")
    print(f"wrote {args.out}")
    if args.check and not kept:
        print(f"there was no record of this type of machine: {path} is this run's, to be compared with from now on")
    if args.update or (args.check and not kept):
        write(merged(kept, record, known) if kept else record, RECORDS, path.stem)
    if problems:
        sys.exit("\n".join(["slower than the record:", *problems]))


if __name__ == "__main__":
    main()
