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
import json
import sys

import torch
from benchmarks.comparison import check
from benchmarks.groups import groups
from benchmarks.records import machine_name, run_groups, write
from files.arguments import output_folder
from files.paths import ROOT, RUNS

RECORDS = ROOT / "docs" / "benchmarks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list(groups(torch.device("cpu")))
    parser.add_argument("--groups", nargs="+", choices=known, default=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--rounds", type=int, default=9, help="samples of each contender")
    parser.add_argument("--seconds", type=float, default=0.05, help="least time of a sample")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=output_folder, default=RUNS / "benchmark")
    parser.add_argument("--check", action="store_true", help="fail where one of ours is 5 %% slower than in the record")
    parser.add_argument("--update", action="store_true", help="put this run's groups into the record")
    args = parser.parse_args()
    device = torch.device(args.device)
    every = groups(device)
    chosen = {name: every[name] for name in args.groups}
    record = run_groups(chosen, device, args.rounds, args.seconds)
    path = RECORDS / f"{machine_name(record['environment'])}.json"
    problems = check(record, path, chosen, device, args.rounds, args.seconds) if args.check else []
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
